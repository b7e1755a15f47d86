//! `unanimous torture`: scenarios that do clusters of this program harm, and judge what they did.

use serde_json::{Value, json};
use torture::{Ended, Hogging, Options, Outcome};

use crate::args::Torture;
use crate::failure::Failure;

pub fn run(args: &Torture, json: bool) -> Result<(), Failure> {
    if let Some(work) = hogging(args) {
        torture::hog(&work);
        return Ok(());
    }
    if args.names.is_empty() && !args.all {
        list(json);
        return Ok(());
    }
    let options = options(args)?;
    // Machines read the object at the end, whoever waits reads on.
    let say: fn(&str) = if json { |line| eprintln!("{line}") } else { |line| println!("{line}") };
    let ended = torture::run(&options, say)?;
    if json {
        let scenarios: Vec<Value> = ended.iter().map(of_one).collect();
        println!("{}", json!({ "seed": options.seed, "long": options.long, "scenarios": scenarios }));
    }
    let undone: Vec<&str> =
        ended.iter().filter(|one| one.outcome != Outcome::Passed).map(|one| one.name).collect();
    if undone.is_empty() { Ok(()) } else { Err(Failure::refused(undone_text(&ended, &undone))) }
}

fn undone_text(ended: &[Ended], undone: &[&str]) -> String {
    let names = undone.join(", ");
    if ended.iter().any(|one| matches!(one.outcome, Outcome::Failed(_))) {
        format!(
            "failed or not run: {names}; read the reasons above, and the sites' logs in the folders named there"
        )
    } else {
        format!("cannot be run here: {names}; the reasons are above")
    }
}

fn hogging(args: &Torture) -> Option<Hogging> {
    let processors = args.hog_processors.map(Hogging::Processors);
    processors.or_else(|| args.hog_disk.clone().map(Hogging::Disk))
}

fn options(args: &Torture) -> Result<Options, Failure> {
    let program = match &args.program {
        Some(program) => program.clone(),
        None => std::env::current_exe()?,
    };
    let mut options = Options::new(program);
    options.hog = vec!["torture".into()];
    options.names.clone_from(&args.names);
    options.exact = true;
    options.long = !args.short;
    options.seconds = args.seconds;
    options.times = args.times;
    options.seed = args.seed.unwrap_or(options.seed);
    match options.unknown() {
        None => Ok(options),
        Some(name) => {
            Err(Failure::usage(format!("no scenario is called {name:?}; `unanimous torture` lists them")))
        }
    }
}

fn list(json: bool) {
    if json {
        let all: Vec<Value> =
            torture::scenarios().map(|(name, about)| json!({ "name": name, "about": about })).collect();
        println!("{}", json!({ "scenarios": all }));
        return;
    }
    let width = torture::scenarios().map(|(name, _)| name.len()).max().unwrap_or(0);
    torture::scenarios().for_each(|(name, about)| println!("{name:width$}  {about}"));
    println!("\n`unanimous torture NAME ...` runs them.");
}

fn of_one(one: &Ended) -> Value {
    let (outcome, why) = match &one.outcome {
        Outcome::Passed => ("passed", None),
        Outcome::Skipped(why) => ("skipped", Some(why)),
        Outcome::Failed(why) => ("failed", Some(why)),
    };
    json!({
        "name": one.name,
        "outcome": outcome,
        "why": why,
        "seconds": one.took.as_secs_f64(),
        "figures": one.figures,
    })
}
