//! Amounts with a unit: `250MB`, `30s`, `7d`.

use std::time::Duration;

/// Bytes from `512KB`, `250MB`, `1GB` (powers of 1000) and `250MiB` (powers of 1024).
pub(crate) fn bytes(text: &str) -> Option<u64> {
    scaled(text, |unit| match unit {
        "B" => Some(1),
        "KB" | "kB" => Some(1_000),
        "MB" => Some(1_000_000),
        "GB" => Some(1_000_000_000),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    })
}

/// A time from `500ms`, `30s` and `2m`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let milliseconds = scaled(text, |unit| match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        _ => None,
    });
    milliseconds.map(Duration::from_millis)
}

/// Milliseconds from `90s`, `30m`, `24h`, `7d` and `2w`.
pub(crate) fn age(text: &str) -> Option<u64> {
    const MINUTE: u64 = 60_000;
    scaled(text, |unit| match unit {
        "s" => Some(1_000),
        "m" => Some(MINUTE),
        "h" => Some(60 * MINUTE),
        "d" => Some(24 * 60 * MINUTE),
        "w" => Some(7 * 24 * 60 * MINUTE),
        _ => None,
    })
}

fn scaled(text: &str, factor: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    number.checked_mul(factor(text[digits..].trim())?)
}
