//! Dates for chat templates: `strftime` over the civil calendar, in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const SECONDS_PER_DAY: u64 = 86_400;

/// A point in time taken apart; `days` counts from 1 January 1970, a Thursday.
struct Civil {
    year: u64,
    /// 0 is January.
    month: usize,
    /// 1 is the first.
    day: u64,
    /// 1 is the first of January.
    day_of_year: u64,
    days: u64,
    seconds: u64,
}

impl Civil {
    fn new(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let days = since.as_secs() / SECONDS_PER_DAY;
        let (mut year, mut day) = (1970, days);
        while day >= year_length(year) {
            day -= year_length(year);
            year += 1;
        }
        let day_of_year = day + 1;
        let mut month = 0;
        while day >= month_length(year, month) {
            day -= month_length(year, month);
            month += 1;
        }
        Self { year, month, day: day + 1, day_of_year, days, seconds: since.as_secs() % SECONDS_PER_DAY }
    }

    fn day_name(&self) -> &'static str {
        DAYS[(self.days % 7) as usize]
    }

    fn month_name(&self) -> &'static str {
        MONTHS[self.month]
    }

    /// The text of one directive, or nothing for one that is not supported.
    fn directive(&self, letter: char) -> Option<String> {
        let (hour, minute) = (self.seconds / 3600, self.seconds / 60 % 60);
        Some(match letter {
            'd' => format!("{:02}", self.day),
            'm' => format!("{:02}", self.month + 1),
            'Y' => self.year.to_string(),
            'y' => format!("{:02}", self.year % 100),
            'B' => self.month_name().to_owned(),
            'b' => self.month_name()[..3].to_owned(),
            'A' => self.day_name().to_owned(),
            'a' => self.day_name()[..3].to_owned(),
            'j' => format!("{:03}", self.day_of_year),
            'H' => format!("{hour:02}"),
            'I' => format!("{:02}", (hour + 11) % 12 + 1),
            'M' => format!("{minute:02}"),
            'S' => format!("{:02}", self.seconds % 60),
            'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'F' => format!("{}-{:02}-{:02}", self.year, self.month + 1, self.day),
            'T' => format!("{hour:02}:{minute:02}:{:02}", self.seconds % 60),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }
}

fn year_length(year: u64) -> u64 {
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    if leap { 366 } else { 365 }
}

fn month_length(year: u64, month: usize) -> u64 {
    match month {
        1 => year_length(year) - 337,
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

/// `time` in UTC, written as C's `strftime` writes it in the C locale. `%-d` drops the leading
/// zeros of a number. An unsupported directive is returned as the error.
pub(crate) fn strftime(format: &str, time: SystemTime) -> Result<String, String> {
    let civil = Civil::new(time);
    let mut text = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let mut directive = letters.next();
        let bare = directive == Some('-');
        if bare {
            directive = letters.next();
        }
        let written = directive
            .and_then(|d| civil.directive(d))
            .ok_or_else(|| format!("%{}", directive.map_or(String::new(), String::from)))?;
        text.push_str(if bare { without_zeros(&written) } else { &written });
    }
    Ok(text)
}

fn without_zeros(number: &str) -> &str {
    match number.trim_start_matches('0') {
        "" => "0",
        rest => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::strftime;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn dates_match_the_c_library() {
        let cases = [
            (0, "%d %b %Y %A %j", "01 Jan 1970 Thursday 001"),
            (951_782_400, "%d %B %Y, %a", "29 February 2000, Tue"),
            (1_709_251_199, "%F %T", "2024-02-29 23:59:59"),
            (1_735_603_200, "%j %y %-d/%-m", "366 24 31/12"),
            (4_107_542_400, "%d %b %Y", "01 Mar 2100"),
            (46_800, "%I:%M %p 100%%", "01:00 PM 100%"),
            (0, "%I %p %-H", "12 AM 0"),
        ];
        for (seconds, format, text) in cases {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(strftime(format, time).as_deref(), Ok(text), "{format}");
        }
    }

    #[test]
    fn an_unknown_directive_is_named() {
        assert_eq!(strftime("a %Q", UNIX_EPOCH), Err("%Q".to_owned()));
        assert_eq!(strftime("a %", UNIX_EPOCH), Err("%".to_owned()));
    }
}
