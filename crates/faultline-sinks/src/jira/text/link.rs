//! The only addresses that a ticket links: pages of the console, and other tickets. Neither their words nor their address is a scanner's.

use faultline_model::id::Id;

/// The longest address that is linked, in bytes.
const ADDRESS_BYTES: usize = 1024;

/// As many digits of an id as every command takes.
const ID_DIGITS: usize = 12;

/// A link: words and address, both without anything that ADF or wiki markup could take for something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    words: String,
    to: String,
}

impl Address {
    pub fn words(&self) -> &str {
        &self.words
    }

    pub fn to(&self) -> &str {
        &self.to
    }

    /// The page of a risk. None of a service that a browser would take for a step in the path.
    pub(super) fn of_risk(console: &str, service: &str, risk: Id) -> Option<Self> {
        if matches!(service, "" | "." | "..") {
            return None;
        }
        let risk = risk.to_string();
        Self::new(risk[..ID_DIGITS].to_owned(), console, &format!("/risks/{}/{risk}", encoded(service)))
    }

    /// The page of a ticket; none of what is no key.
    pub(super) fn of_ticket(tracker: &str, key: &str) -> Option<Self> {
        let (project, number) = key.rsplit_once('-')?;
        let is_key = project.starts_with(|first: char| first.is_ascii_alphabetic())
            && project.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
            && !number.is_empty()
            && number.bytes().all(|digit| digit.is_ascii_digit());
        if is_key { Self::new(key.to_owned(), tracker, &format!("/browse/{key}")) } else { None }
    }

    fn new(words: String, base: &str, path: &str) -> Option<Self> {
        let base = base.trim_end_matches('/');
        let rest = base.strip_prefix("https://").or_else(|| base.strip_prefix("http://"))?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/%".contains(&byte);
        let is_address = !rest.is_empty() && rest.bytes().all(is_plain) && base.len() + path.len() <= ADDRESS_BYTES;
        is_address.then(|| Self { words, to: format!("{base}{path}") })
    }
}

/// The first digits of an id.
pub(super) fn short(id: Id) -> String {
    let mut digits = id.to_string();
    digits.truncate(ID_DIGITS);
    digits
}

/// A text as one part of a path: all but letters, digits and `-._` by their bytes.
fn encoded(part: &str) -> String {
    let mut path = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    const RISK: Id = Id([7; 16]);

    fn risk(console: &str, service: &str) -> Option<String> {
        Address::of_risk(console, service, RISK).map(|address| address.to)
    }

    #[test]
    fn a_service_is_one_part_of_a_path() {
        let page = |service: &str| Some(format!("https://f.example/risks/{service}/{RISK}"));
        assert_eq!(risk("https://f.example", "shop"), page("shop"));
        assert_eq!(risk("https://f.example/", "a/../b?c#d|e]f ü"), page("a%2F..%2Fb%3Fc%23d%7Ce%5Df%20%C3%BC"));
        for none in ["", ".", "..", &"a".repeat(ADDRESS_BYTES)] {
            assert_eq!(risk("https://f.example", none), None, "{none}");
        }
    }

    #[test]
    fn what_is_no_address_is_not_linked() {
        for none in ["", "https://", "javascript:alert(1)", "faultline.example", "https://a|b", "https://a]b", "https://a b", "https://a\n"]
        {
            assert_eq!(risk(none, "shop"), None, "{none}");
        }
    }

    #[test]
    fn only_a_key_is_a_ticket() {
        let to = |key: &str| Address::of_ticket("https://j.example/jira", key).map(|address| address.to);
        assert_eq!(to("SHOP_2-17").as_deref(), Some("https://j.example/jira/browse/SHOP_2-17"));
        for none in ["", "-1", "SHOP-", "SHOP", "SHOP-1x", "1-1", "SH/OP-1", "ÄB-1"] {
            assert_eq!(to(none), None, "{none}");
        }
    }
}
