//! Whether an image got the time that was asked for: a builder between us and BuildKit, or another
//! exporter, ignores in silence what it does not know.

/// What is said, once, of a BuildKit that gives images the time of the build.
pub(crate) const IGNORED: &str = "this BuildKit gives images the time of their build: they will not \
                                  come out byte for byte the same when they are built again";

/// Whether a time of a config (RFC 3339) is later than it should be, in seconds since the Unix
/// epoch. One that is earlier is that of the base image, which is as it was. What is no time proves
/// nothing.
pub(crate) fn is_later(created: &str, epoch: u64) -> bool {
    seconds(created).is_some_and(|seconds| i64::try_from(epoch).is_ok_and(|epoch| seconds > epoch))
}

/// `2024-05-05T05:05:05.123Z` in seconds since the Unix epoch. BuildKit and Docker write UTC.
fn seconds(time: &str) -> Option<i64> {
    let (date, time) = time.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, separator: char| -> Option<Vec<i64>> {
        text.split(separator).map(|part| part.parse().ok()).collect()
    };
    let [year, month, day] = numbers(date, '-')?[..] else { return None };
    let whole = time.split_once('.').map_or(time, |(whole, _)| whole);
    let [hour, minute, second] = numbers(whole, ':')?[..] else { return None };
    // Howard Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`: years begin
    // in March, so that the day that may be missing is the last.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = 365 * year + leap_days + day_of_year - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_from_1970() {
        for (time, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00.5Z", Some(951_825_600)),
            ("2024-05-05T05:05:05Z", Some(1_714_885_505)),
            ("0001-01-01T00:00:00Z", Some(-62_135_596_800)),
            ("2024-05-05", None),
            ("yesterday", None),
        ] {
            assert_eq!(seconds(time), expected, "{time}");
        }
    }

    #[test]
    fn only_a_later_time_is_wrong() {
        assert!(is_later("2024-05-05T05:05:05Z", 0));
        assert!(!is_later("2024-05-05T05:05:05Z", 1_714_885_505));
        assert!(!is_later("1970-01-01T00:00:00Z", 1));
        assert!(!is_later("", 0));
    }
}
