//! The beginning of a report, by which its format is recognised.

/// How much of a file is looked at to recognise it, in bytes.
pub const HEAD_BYTES: usize = 64 * 1024;

/// The beginning of a report: at most [`HEAD_BYTES`], without a byte-order mark.
pub struct Head<'a> {
    text: &'a str,
    is_whole: bool,
}

impl<'a> Head<'a> {
    /// The head of these bytes; `is_whole` if they are the whole file. Bytes after the last whole UTF-8 character are left out.
    pub fn new(bytes: &'a [u8], is_whole: bool) -> Self {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
        };
        Self { text: text.trim_start(), is_whole }
    }

    /// The text itself, leading white space dropped.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Whether the text is the whole report, so that an adapter may judge by what is absent.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Whether it is an empty list, or none, which says nothing of its tool.
    pub fn is_nothing(&self) -> bool {
        let compact: String = self.text.chars().filter(|c| !c.is_whitespace()).take(5).collect();
        self.is_whole && matches!(compact.as_str(), "[]" | "null")
    }

    /// Whether the report is a JSON object.
    pub fn is_json_object(&self) -> bool {
        self.text.starts_with('{')
    }

    /// Whether the report is a JSON array.
    pub fn is_json_array(&self) -> bool {
        self.text.starts_with('[')
    }

    /// Whether a JSON member of this name stands in the head, at any depth.
    pub fn has_member(&self, name: &str) -> bool {
        let mut rest = self.text;
        let quoted = format!("\"{name}\"");
        while let Some(at) = rest.find(&quoted) {
            rest = &rest[at + quoted.len()..];
            if rest.trim_start().starts_with(':') {
                return true;
            }
        }
        false
    }

    /// The member names of the outermost JSON object that stand in the head, in their order.
    pub fn top_members(&self) -> Vec<&'a str> {
        members_at_depth(self.text, 1)
    }

    /// The member names of the first object inside the outermost JSON array.
    pub fn first_element_members(&self) -> Vec<&'a str> {
        if self.is_json_array() { members_of_first(self.text) } else { Vec::new() }
    }

    /// The name of the XML root element, without prefix; empty if this is no XML.
    pub fn xml_root(&self) -> &'a str {
        let mut rest = self.text;
        while let Some(open) = rest.find('<') {
            rest = &rest[open + 1..];
            if rest.starts_with('?') || rest.starts_with('!') {
                continue;
            }
            let end = rest.find(|c: char| c.is_whitespace() || c == '>' || c == '/').unwrap_or(rest.len());
            let name = &rest[..end];
            return name.rsplit(':').next().unwrap_or(name);
        }
        ""
    }

    /// A short beginning for an error message.
    pub fn excerpt(&self) -> String {
        self.text.chars().filter(|c| !c.is_control()).take(60).collect()
    }
}

/// Names of the members of the first object met.
fn members_of_first(text: &str) -> Vec<&str> {
    text.find('{').map_or_else(Vec::new, |open| members_at_depth(&text[open..], 1))
}

/// Names of members at a depth of nesting (1 is the outermost), as far as the text goes; ends with the outermost value.
fn members_at_depth(text: &str, depth: usize) -> Vec<&str> {
    let bytes = text.as_bytes();
    let (mut names, mut nesting, mut at) = (Vec::new(), 0_usize, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            b'{' | b'[' => nesting += 1,
            b'}' | b']' => {
                nesting = nesting.saturating_sub(1);
                if nesting == 0 {
                    break;
                }
            }
            b'"' => {
                let start = at + 1;
                let mut end = start;
                while end < bytes.len() && bytes[end] != b'"' {
                    end += if bytes[end] == b'\\' { 2 } else { 1 };
                }
                if end >= bytes.len() {
                    break;
                }
                let is_member = text[end + 1..].trim_start().starts_with(':');
                if is_member && nesting == depth {
                    names.push(&text[start..end]);
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head<'_> {
        Head::new(text.as_bytes(), true)
    }

    #[test]
    fn members_are_found_by_depth() {
        let json = r#" { "a": {"b": 1, "x\"y": "c"}, "d": ["e"], "f": "g:" }"#;
        assert_eq!(head(json).top_members(), ["a", "d", "f"]);
        assert!(head(json).has_member("b") && !head(json).has_member("e"));
        assert_eq!(head(r#"[{"RuleID": 1, "in": {"no": 1}}, {"z": 1}]"#).first_element_members(), ["RuleID", "in"]);
    }

    #[test]
    fn a_byte_order_mark_and_a_cut_character_are_no_obstacle() {
        assert!(Head::new(b"\xef\xbb\xbf{\"a\":1}", true).is_json_object());
        assert_eq!(Head::new("{\"ä".as_bytes()[..3].as_ref(), false).text(), "{\"");
    }

    #[test]
    fn the_root_of_xml_is_found_behind_its_prologue() {
        assert_eq!(head("<?xml version=\"1.0\"?><!-- c --><ns:Report v=\"1\">").xml_root(), "Report");
        assert_eq!(head("{}").xml_root(), "");
    }
}
