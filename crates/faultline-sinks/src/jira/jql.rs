//! JQL: which issues are looked for.

/// The issues with a label, wherever people moved them. Bounded by it: a query that is not is refused.
pub(super) fn marked(label: &str) -> String {
    format!("labels = {}", quoted(label))
}

/// A text of JQL, in which nothing is read as JQL.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_end_its_quotes() {
        assert_eq!(marked("faultline-1f"), r#"labels = "faultline-1f""#);
        assert_eq!(quoted("a\" OR labels = \"b"), r#""a\" OR labels = \"b""#);
        assert_eq!(quoted("a\\\n'"), r#""a\\\u000a'""#);
    }
}
