//! The id of a run: the time and the process, short, and sorted as the runs were.
//!
//! Knows no clock: both are given.

/// Crockford's base 32: digits before letters, so that text sorts as numbers do, and no letter that
/// is taken for another.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// 45 bits of milliseconds: they last until the year 3084.
const TIME_DIGITS: usize = 9;

/// The id of a run of process `pid` that begins `now`, in milliseconds since the Unix epoch, after
/// the run `last`. Where the clock was set back, the time of `last` goes on instead.
pub(super) fn after(last: Option<&str>, now: u64, pid: u32) -> String {
    let earliest = last.and_then(time_of).map_or(0, |time| time + 1);
    format!("{}-{}", digits(now.max(earliest), TIME_DIGITS), digits(pid.into(), 1))
}

fn time_of(id: &str) -> Option<u64> {
    let (time, _) = id.split_once('-').filter(|(time, _)| time.len() == TIME_DIGITS)?;
    time.bytes().try_fold(0, |number: u64, digit| {
        let value = DIGITS.iter().position(|known| *known == digit)?;
        Some(number * 32 + value as u64)
    })
}

fn digits(mut number: u64, at_least: usize) -> String {
    let mut reversed = Vec::new();
    while number > 0 || reversed.len() < at_least {
        reversed.push(char::from(DIGITS[(number % 32) as usize]));
        number /= 32;
    }
    reversed.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_as_the_runs_were_even_if_the_clock_goes_back() {
        let mut ids = vec![after(None, 1_763_900_000_000, 4_711)];
        for now in [1_763_900_000_001, 1_763_900_000_001, 5, 1_863_900_000_000] {
            ids.push(after(ids.last().map(String::as_str), now, 4_711));
        }
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    }

    #[test]
    fn an_id_is_short_and_has_time_and_process() {
        assert_eq!(after(None, 1_763_900_000_000, 4_711), "1kara41r0-4k7");
        assert_eq!(time_of("1kara41r0-4k7"), Some(1_763_900_000_000));
    }

    #[test]
    fn an_id_of_somebody_else_is_no_time() {
        for id in ["", "-", "nightly-7", "ilouilou0-1", "0123456789-1"] {
            assert_eq!(time_of(id), None, "{id}");
        }
    }
}
