//! The order of Debian's packages: Debian Policy 5.6.12, as `dpkg --compare-versions` has it.

use core::cmp::Ordering;

/// `9.0.0-4+deb12u3`: behind the last hyphen stands a digit.
pub(super) fn has_revision(text: &str) -> bool {
    text.rsplit_once('-').is_some_and(|(_, revision)| revision.starts_with(|c: char| c.is_ascii_digit()))
}

/// dpkg's order; `None` where what stands before a colon is no epoch.
pub(super) fn compare(a: &str, b: &str) -> Option<Ordering> {
    let ((epoch_a, a), (epoch_b, b)) = (epoch(a)?, epoch(b)?);
    let ((upstream_a, revision_a), (upstream_b, revision_b)) = (halves(a), halves(b));
    let order = epoch_a.cmp(&epoch_b);
    Some(order.then_with(|| part(upstream_a, upstream_b)).then_with(|| part(revision_a, revision_b)))
}

fn epoch(text: &str) -> Option<(u32, &str)> {
    match text.split_once(':') {
        None => Some((0, text)),
        Some((epoch, rest)) => Some((epoch.parse().ok()?, rest)),
    }
}

fn halves(text: &str) -> (&str, &str) {
    text.rsplit_once('-').unwrap_or((text, ""))
}

/// By turns what is no number, character by character, and a number.
fn part(mut a: &str, mut b: &str) -> Ordering {
    while !a.is_empty() || !b.is_empty() {
        let ((word_a, rest_a), (word_b, rest_b)) = (words(a), words(b));
        let ((number_a, rest_a), (number_b, rest_b)) = (digits(rest_a), digits(rest_b));
        let order = by_character(word_a, word_b)
            // Without leading zeros the longer one is the greater one, however long.
            .then_with(|| number_a.len().cmp(&number_b.len()))
            .then_with(|| number_a.cmp(number_b));
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

fn words(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len()))
}

fn digits(text: &str) -> (&str, &str) {
    let (number, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    (number.trim_start_matches('0'), rest)
}

fn by_character(a: &str, b: &str) -> Ordering {
    let at = |text: &str, i: usize| text.as_bytes().get(i).map_or(0, |c| weight(*c));
    let unequal = |i: usize| Some(at(a, i).cmp(&at(b, i))).filter(|order| order.is_ne());
    (0..a.len().max(b.len())).find_map(unequal).unwrap_or(Ordering::Equal)
}

/// A tilde is before even the end; letters are before everything else.
fn weight(c: u8) -> i32 {
    match c {
        b'~' => -1,
        c if c.is_ascii_alphabetic() => i32::from(c),
        c => i32::from(c) + 256,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Version;
    use Ordering::{Equal, Greater, Less};

    use super::*;

    /// Recorded from `dpkg --compare-versions` (dpkg 1.21.22).
    const RECORDED: [(&str, &str, Ordering); 18] = [
        ("9.0.0-4+deb12u3", "9.0.0-4+deb12u4", Less),
        ("9.0.0-4+deb12u9", "9.0.0-4+deb12u10", Less),
        ("9.0.0-4", "9.0.0-4+deb12u1", Less),
        ("9.0.0-4~bpo11+1", "9.0.0-4", Less),
        ("1:8.2.2+ds-0ubuntu1", "1:8.2.2+ds-0ubuntu1.4", Less),
        ("1:2.0-1", "3.0-1", Greater),
        ("0:3.0-1", "3.0-1", Equal),
        ("2:1.0-1", "10:1.0-1", Less),
        ("1:7.2+dfsg-7+deb12u7", "1:7.2+dfsg-7+deb12u12", Less),
        ("3.1.0-2+deb12u1", "3.1.0-2+deb12u1+b1", Less),
        ("22.03.3-1~deb12u1", "22.03.3-1", Less),
        ("1.0~beta1-1", "1.0~rc1-1", Less),
        ("1.0~rc1-1", "1.0-1", Less),
        ("1.0+git20240101-1", "1.0+git20240102-1", Less),
        ("3.4.23-4+b4", "3.4.23-4+b10", Less),
        ("1:1.0-0", "1:1.0", Equal),
        ("1.2a-1", "1.2+-1", Less),
        ("1.0-1a", "1.0-1+", Less),
    ];

    #[test]
    fn the_order_is_the_one_that_dpkg_has() {
        for (a, b, order) in RECORDED {
            let (a, b) = (Version::parse(a).unwrap(), Version::parse(b).unwrap());
            assert_eq!(a.compare(&b), Some(order), "{a} and {b}");
            assert_eq!(b.compare(&a), Some(order.reverse()), "{b} and {a}");
        }
    }

    #[test]
    fn what_no_package_is_called_stays_without_an_order() {
        let order = |a: &str, b: &str| Version::parse(a).unwrap().compare(&Version::parse(b).unwrap());
        assert_eq!(order("1.0.0+k3s1", "1.0.0+rke2r1"), None, "no revision of Debian's");
        assert_eq!(order("99999999999:1.0", "1.0"), None, "no epoch is that high");
        assert_eq!(order("9.0.0-4+deb12u3", "9.0.0+k3s1"), None, "only one has a revision");
    }
}
