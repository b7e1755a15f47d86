//! Dates of IMAP: of APPEND and INTERNALDATE with a time, of SEARCH without; and those that headers carry.

use mail::EntryTime;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Days since 1 January 1970; a day is what SEARCH compares.
pub(crate) type Day = i64;

/// Days from civil (the proleptic Gregorian calendar).
pub(crate) fn day_of(year: i64, month: i64, day: i64) -> Day {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_of(day: Day) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, date)
}

/// `1-Feb-2024`, of SEARCH.
pub(crate) fn parse_day(text: &[u8]) -> Option<Day> {
    let text = std::str::from_utf8(text).ok()?;
    let mut fields = text.split('-');
    let (day, month, year) = (fields.next()?, fields.next()?, fields.next()?);
    if fields.next().is_some() || day.len() > 2 || year.len() != 4 {
        return None;
    }
    let month = 1 + MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))? as i64;
    let (day, year) = (number(day)?, number(year)?);
    (1..=31).contains(&day).then(|| day_of(year, month, day))
}

/// ` 1-Feb-2024 12:00:00 +0100`, of APPEND. None too if it is before 1970.
pub(crate) fn parse_internal(text: &[u8]) -> Option<EntryTime> {
    let text = std::str::from_utf8(text).ok()?.trim_start();
    let mut fields = text.split(' ');
    let (date, time, zone) = (fields.next()?, fields.next()?, fields.next()?);
    let day = parse_day(date.as_bytes())?;
    let mut clock = time.split(':');
    let (hour, minute, second) = (two(clock.next()?)?, two(clock.next()?)?, two(clock.next()?)?);
    let (sign, offset) = match zone.split_at_checked(1)? {
        ("+", offset) => (1, offset),
        ("-", offset) => (-1, offset),
        _ => return None,
    };
    let (zone_hours, zone_minutes) = offset.split_at_checked(2)?;
    let zone_seconds = sign * (two(zone_hours)? * 3_600 + two(zone_minutes)? * 60);
    let good = hour < 24 && minute < 60 && second <= 60 && fields.next().is_none() && clock.next().is_none();
    let seconds = day * 86_400 + hour * 3_600 + minute * 60 + second - zone_seconds;
    good.then(|| u64::try_from(seconds).ok()?.checked_mul(1_000).map(EntryTime))?
}

fn number(text: &str) -> Option<i64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn two(text: &str) -> Option<i64> {
    if text.len() == 2 { number(text) } else { None }
}

/// As INTERNALDATE tells it, in UTC.
pub(crate) fn internal(time: EntryTime) -> String {
    let seconds = (time.0 / 1_000) as i64;
    let (year, month, day) = civil_of(seconds.div_euclid(86_400));
    let month = MONTHS[(month - 1) as usize % 12];
    let clock = seconds.rem_euclid(86_400);
    format!(
        "{day:2}-{month}-{:04} {:02}:{:02}:{:02} +0000",
        year.min(9_999),
        clock / 3_600,
        clock / 60 % 60,
        clock % 60
    )
}

/// As header fields tell it (RFC 5322, 3.3), in UTC.
pub(crate) fn in_header(time: EntryTime) -> String {
    let day = (time.0 / 86_400_000) as Day;
    // The first of January 1970 was a Thursday.
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][day.rem_euclid(7) as usize];
    let internal = internal(time);
    let (date, clock) = internal.trim_start().split_once(' ').unwrap_or_default();
    format!("{weekday}, {} {clock}", date.replace('-', " "))
}

/// The day of an internal date, in UTC.
pub(crate) fn day_of_time(time: EntryTime) -> Day {
    (time.0 / 86_400_000) as Day
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_there_and_back() {
        for text in [" 1-Jan-1970 00:00:00 +0000", "29-Feb-2024 23:59:59 +0000", "31-Dec-2099 12:30:01 +0000"]
        {
            assert_eq!(internal(parse_internal(text.as_bytes()).unwrap()), text);
        }
        let zone = parse_internal(b"17-Jul-1996 02:44:25 -0700").unwrap();
        assert_eq!(internal(zone), "17-Jul-1996 09:44:25 +0000");
        for day in -800_000..800_000 {
            let (year, month, date) = civil_of(day);
            assert_eq!(day_of(year, month, date), day);
        }
        assert_eq!(internal(EntryTime(u64::MAX)).len(), 26);
        assert_eq!(in_header(EntryTime(1_700_000_000_000)), "Tue, 14 Nov 2023 22:13:20 +0000");
        assert_eq!(in_header(EntryTime(0)), "Thu, 1 Jan 1970 00:00:00 +0000");
    }

    #[test]
    fn what_is_no_date() {
        for wrong in
            ["", "1-Feb", "1-Feb-24", "x-Feb-2024", "32-Feb-2024", "1-Foo-2024", "+1-Feb-2024", "1-Feb-2024-"]
        {
            assert!(parse_day(wrong.as_bytes()).is_none(), "{wrong}");
        }
        for wrong in [
            "1-Feb-2024",
            "1-Feb-2024 1:00:00 +0000",
            "1-Feb-2024 00:00:00 0000",
            "1-Feb-1960 00:00:00 +0000",
            "1-Feb-2024 00:00:00 +0\u{e9}0",
            "1-Feb-2024 00:00:00 \u{e9}000",
        ] {
            assert!(parse_internal(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }
}
