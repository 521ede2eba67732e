//! From when until when a certificate is good: the two times, and nothing else of its DER.
//!
//! ```text
//!   Certificate { tbsCertificate { [0] version?, serialNumber, signature, issuer, validity { notBefore, notAfter }, … } … }
//! ```

/// When a certificate is good, in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub not_before: u64,
    pub not_after: u64,
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

impl Validity {
    /// Reads it from a certificate.
    pub(crate) fn of(certificate: &[u8]) -> Option<Self> {
        let (_, certificate, _) = element(certificate)?;
        let (_, fields, _) = element(certificate)?;
        let (first, _, after_first) = element(fields)?;
        // The version is left out when it is 1.
        let after_serial = if first == VERSION { element(after_first)?.2 } else { after_first };
        let after_signature = element(after_serial)?.2;
        let after_issuer = element(after_signature)?.2;
        let (tag, times, _) = element(after_issuer)?;
        let (before_tag, before, rest) = element(times)?;
        let (after_tag, after, _) = element(rest)?;
        (tag == SEQUENCE).then_some(Self { not_before: seconds(before_tag, before)?, not_after: seconds(after_tag, after)? })
    }

    /// When it should be replaced: after two thirds of its time.
    pub(crate) fn renew_at(&self) -> u64 {
        self.not_before + self.not_after.saturating_sub(self.not_before) / 3 * 2
    }
}

/// Takes the first element: its tag, its content, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`; a certificate has no other form (RFC 5280 §4.1.2.5).
fn seconds(tag: u8, text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"Z")?;
    let pair = |at: usize| -> Option<u64> { str::from_utf8(digits.get(at..at + 2)?).ok()?.parse().ok() };
    let (year, at) = match (tag, digits.len()) {
        (UTC_TIME, 12) => (pair(0)? + if pair(0)? < 50 { 2000 } else { 1900 }, 2),
        (GENERALIZED_TIME, 14) => (pair(0)? * 100 + pair(2)?, 4),
        _ => return None,
    };
    let (month, day) = (pair(at)?, pair(at + 2)?);
    let in_range = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    let of_day = pair(at + 4)? * 3600 + pair(at + 6)? * 60 + pair(at + 8)?;
    in_range.then(|| days(year, month, day) * 86_400 + of_day)
}

/// Days since 1970-01-01. Counted in years that begin with March, so that the leap day is the last.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds() {
        let check = |tag: u8, text: &str, expected: Option<u64>| assert_eq!(seconds(tag, text.as_bytes()), expected, "{text}");
        check(UTC_TIME, "700101000000Z", Some(0));
        check(UTC_TIME, "000229235959Z", Some(951_868_799));
        check(UTC_TIME, "491231235959Z", Some(2_524_607_999));
        check(GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000));
        check(GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799));
        check(GENERALIZED_TIME, "21000301000000Z", Some(4_107_542_400));
        for wrong in ["", "Z", "700101000000", "701301000000Z", "7001010000Z", "70010100000xZ", "19700101000000Z"] {
            check(UTC_TIME, wrong, None);
        }
    }

    #[test]
    fn a_certificate_says_how_long_it_is_good() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 11, 22);
        params.not_after = rcgen::date_time_ymd(2055, 2, 1);
        let made = params.self_signed(&key).unwrap();
        let validity = Validity { not_before: 1_795_305_600, not_after: 2_685_052_800 };
        assert_eq!(Validity::of(made.der()), Some(validity));
        assert_eq!(validity.renew_at(), 1_795_305_600 + (2_685_052_800 - 1_795_305_600) / 3 * 2);
        for end in 0..made.der().len() {
            // Whatever is cut off, nothing panics.
            let _ = Validity::of(&made.der()[..end]);
        }
    }
}
