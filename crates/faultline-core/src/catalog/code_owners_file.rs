//! The lines of a CODEOWNERS file as rules.
//!
//! Shape: `pattern owner owner… # comment`; `\` keeps the next character from meaning anything; a pattern without owners takes
//! them away. GitHub leaves out lines that it cannot read, and so do we, telling which.

use faultline_model::catalog::CodeOwners;

use super::code_owners::fault;

/// The most owners of a rule.
pub const OWNERS_OF_A_RULE: usize = 64;

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// In file order.
    pub rules: Vec<CodeOwners>,
    /// Lines that were left out, from 1, with the reason.
    pub left_out: Vec<(usize, String)>,
}

/// Reads a CODEOWNERS file.
pub fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for (number, line) in text.lines().enumerate() {
        let mut words = words(line).into_iter();
        let Some(pattern) = words.next() else { continue };
        match rule(pattern, words.collect()) {
            Ok(rule) => parsed.rules.push(rule),
            Err(why) => parsed.left_out.push((number + 1, why)),
        }
    }
    parsed
}

/// A rule of its parts; why it is none.
pub(super) fn rule(pattern: String, owners: Vec<String>) -> Result<CodeOwners, String> {
    if let Some(why) = fault(&pattern) {
        return Err(format!("{pattern:?}: {why}"));
    }
    if let Some(owner) = owners.iter().find(|owner| !is_owner(owner)) {
        return Err(format!("{owner:?} is no owner: `@user`, `@org/team` or an e-mail address is expected"));
    }
    if owners.len() > OWNERS_OF_A_RULE {
        return Err(format!("it has {} owners, at most {OWNERS_OF_A_RULE} are read", owners.len()));
    }
    Ok(CodeOwners { pattern, owners })
}

/// `@user`, `@org/team`, `user@example.org`.
fn is_owner(text: &str) -> bool {
    match text.split_once('@') {
        Some(("", name)) => !name.is_empty() && !name.contains('@') && name.split('/').all(|part| !part.is_empty()),
        Some((_, host)) => host.contains('.') && !host.contains('@'),
        None => false,
    }
}

/// The words of a line up to a comment. Escapes stay in the pattern, where they still mean something.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let mut characters = line.trim_start_matches('\u{feff}').chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                word.push('\\');
                word.extend(characters.next());
            }
            '#' if word.is_empty() => break,
            blank if blank.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            other => word.push(other),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::code_owners::owners_of;

    #[test]
    fn a_file_is_read_as_github_reads_it() {
        let text = "\u{feff}# Owners\r\n*       @acme/all   # everybody\n\n/docs/  docs@acme.example @ben\n\
                    docs/secret\\ plan.md @ceo\n\\#odd @odd\n/generated/ # nobody\n!no @x\na[0] @x\n/b bob\n";
        let parsed = parse(text);
        let rules: Vec<(&str, String)> = parsed.rules.iter().map(|rule| (rule.pattern.as_str(), rule.owners.join(" "))).collect();
        assert_eq!(
            rules,
            [
                ("*", "@acme/all".to_owned()),
                ("/docs/", "docs@acme.example @ben".to_owned()),
                (r"docs/secret\ plan.md", "@ceo".to_owned()),
                (r"\#odd", "@odd".to_owned()),
                ("/generated/", String::new()),
            ]
        );
        assert_eq!(parsed.left_out.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [8, 9, 10]);
        assert_eq!(owners_of(&parsed.rules, "docs/secret plan.md"), ["@ceo"]);
        assert_eq!(owners_of(&parsed.rules, "a/#odd"), ["@odd"]);
        assert!(owners_of(&parsed.rules, "generated/x").is_empty());
    }
}
