//! The program `unanimous`: the command line, and nothing else.

#![forbid(unsafe_code)]

mod args;
mod cluster_file;
mod commands;
mod failure;
mod locate;
mod logging;
mod output;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use args::{Bench, Cert, Cli, Command, SiteChange};
use commands::{
    backup, bench, cast, cert, generate, group, init, join, kv, mail, recover, restore, sim, site, site_add,
    site_move, site_stores, status, torture, up, upgrade, view,
};
use failure::Failure;

/// Sites, benches and simulated clusters all make and drop small things on many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Its place may be a full disk, or nobody's.
            let _ = writeln!(std::io::stderr(), "unanimous: {failure}");
            ExitCode::from(failure.status)
        }
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    match &cli.command {
        Command::Site(args) => match &args.change {
            Some(SiteChange::Add(add)) if add.stores => {
                in_runtime(site_stores::add(&cli.find, add, cli.json))
            }
            Some(SiteChange::Replace(args)) => in_runtime(site_stores::replace(&cli.find, args, cli.json)),
            Some(SiteChange::Remove(args)) => in_runtime(site_stores::remove(&cli.find, args, cli.json)),
            Some(SiteChange::Move(args)) => site_move::run(&cli.find, args, cli.json),
            Some(SiteChange::Add(add)) => site_add::run(&cli.find, add, cli.json),
            None => site::run(args),
        },
        Command::Init(args) => init::run(args),
        Command::Sim(args) => sim::run(args, cli.json),
        Command::Torture(args) => torture::run(args, cli.json),
        Command::Completions { shell } => generate::completions(*shell),
        Command::Man { dir } => generate::man(dir),
        Command::Cert(Cert::Issue(args)) => cert::issue(args, cli.json),
        Command::Cert(Cert::Renew(args)) => cert::renew::run(&cli.find, args, cli.json),
        Command::Cert(Cert::Revoke(args)) => cert::revoke::run(&cli.find, args, cli.json),
        Command::Cert(Cert::Root(args)) => in_runtime(cert::root::run(&cli.find, args, cli.json)),
        Command::Backup(args) if args.verify => backup::verify(args, cli.json),
        Command::Backup(args) => in_runtime(backup::run(&cli.find, args, cli.json)),
        Command::Restore(args) => in_runtime(restore::run(&cli.find, args, cli.json)),
        Command::Upgrade(args) => in_runtime(upgrade::run(&cli.find, args, cli.json)),
        Command::Recover(args) => recover::run(args, cli.json),
        Command::Up(args) => in_runtime(up::run(&cli.find, args, cli.json)),
        Command::Status => in_runtime(status::status(&cli.find, cli.json)),
        Command::Groups => in_runtime(status::groups(&cli.find, cli.json)),
        Command::View(args) => in_runtime(view::run(&cli.find, args, cli.json)),
        Command::Join(args) => in_runtime(join::run(&cli.find, args, cli.json)),
        Command::Cast(args) => in_runtime(cast::run(&cli.find, args, cli.json)),
        Command::Kv(args) => in_runtime(kv::run(&cli.find, args, cli.json)),
        Command::Mail(args) => in_runtime(mail::run(&cli.find, args, cli.json)),
        Command::Group(args) => in_runtime(group::run(&cli.find, args, cli.json)),
        Command::Bench(Bench::Cast(args)) => in_runtime(bench::cast::run(args, cli.json)),
        Command::Bench(Bench::Failover(args)) => in_runtime(bench::failover::run(args, cli.json)),
        Command::Bench(Bench::Kv(args)) => in_runtime(bench::kv::run(args, cli.json)),
        Command::Bench(Bench::Mail(args)) => in_runtime(bench::mail::run(args, cli.json)),
        Command::Bench(Bench::Mailbox(args)) => in_runtime(bench::mail::mailbox::run(args, cli.json)),
        Command::Bench(Bench::Startup(args)) => in_runtime(bench::startup::run(args, cli.json)),
        Command::Bench(Bench::Stream(args)) => in_runtime(bench::stream::run(args, cli.json)),
        Command::Bench(Bench::Transfer(args)) => in_runtime(bench::transfer::run(args, cli.json)),
        Command::Bench(Bench::Member(args)) => bench::member::run(args),
        Command::Bench(Bench::Sink(args)) => bench::stream::sink(args),
    }
}

/// Commands that talk to a site are small: one thread is enough.
fn in_runtime(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(command);
    // Standard input may be read by a thread of the runtime's; it must not hold up the end.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    /// Paragraphs are wrapped to the terminal, so each is one line; examples are not, so they are short.
    #[test]
    fn what_help_says_behind_the_options_is_wrapped_once() {
        fn check(command: &clap::Command) {
            let texts =
                [command.get_after_help(), command.get_after_long_help()].map(|t| t.map(ToString::to_string));
            for text in texts.iter().flatten() {
                let is_prose =
                    |line: &str| !line.is_empty() && !line.starts_with(' ') && !line.ends_with(':');
                for (line, next) in text.lines().zip(text.lines().skip(1).chain([""])) {
                    let name = command.get_name();
                    assert!(is_prose(line) || line.chars().count() <= 100, "{name}: {line}");
                    assert!(!is_prose(line) || !is_prose(next), "{name}: {line}\n{next}");
                }
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
