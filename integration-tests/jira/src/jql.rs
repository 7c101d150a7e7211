//! As much of JQL as somebody needs who looks for marked issues; all else is refused.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, civil};

use crate::issue::Issue;

/// Terms, all of which must hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Query(Vec<Term>);

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Term {
    Project(Vec<String>),
    Labels(Vec<String>),
    Key(Vec<String>),
    UpdatedFrom(Timestamp),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// A name or value, quoted or not.
    Word(String, bool),
    Sign(&'static str),
}

impl Token {
    fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Word(text, false) if text.eq_ignore_ascii_case(word))
    }
}

const SIGNS: [&str; 10] = [">=", "<=", "!=", "!~", "=", ">", "<", "~", "(", ")"];

/// Cuts a query into tokens; commas are one too.
fn tokens(jql: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = jql.trim_start();
    while let Some(first) = rest.chars().next() {
        if let Some(sign) = SIGNS.into_iter().chain([","]).find(|sign| rest.starts_with(sign)) {
            tokens.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else if first == '"' || first == '\'' {
            let (text, length) = quoted(&rest[1..], first)?;
            tokens.push(Token::Word(text, true));
            rest = &rest[1 + length..];
        } else {
            let end = rest.find(|letter: char| letter.is_whitespace() || "=<>!~(),\"'".contains(letter)).unwrap_or(rest.len());
            if end == 0 {
                return Err(format!("Error in the JQL Query: The character '{first}' is a reserved JQL character."));
            }
            tokens.push(Token::Word(rest[..end].to_owned(), false));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

/// What stands before the closing quote, and how long it is with that.
fn quoted(rest: &str, quote: char) -> Result<(String, usize), String> {
    let mut text = String::new();
    let mut letters = rest.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => text.extend(letters.next().map(|(_, escaped)| escaped)),
            _ if letter == quote => return Ok((text, at + letter.len_utf8())),
            _ => text.push(letter),
        }
    }
    Err("Error in the JQL Query: The quoted string has not been completed.".to_owned())
}

/// Reads a query at a time, which `-5m` counts from.
pub(crate) fn read(jql: &str, now: Timestamp) -> Result<Query, String> {
    let tokens = tokens(jql)?;
    let end = tokens.windows(2).position(|pair| pair[0].is_word("order") && pair[1].is_word("by")).unwrap_or(tokens.len());
    let mut rest = &tokens[..end];
    if rest.is_empty() {
        return Err("Unbounded JQL queries are not allowed here. Please add a search restriction to your query.".to_owned());
    }
    let mut terms = Vec::new();
    loop {
        let (term, after) = term(rest, now)?;
        terms.push(term);
        rest = match after {
            [] => return Ok(Query(terms)),
            [and, after @ ..] if and.is_word("and") && !after.is_empty() => after,
            _ => return Err(format!("Error in the JQL Query: Expecting 'AND' but got {:?}.", after[0])),
        };
    }
}

fn term(tokens: &[Token], now: Timestamp) -> Result<(Term, &[Token]), String> {
    let incomplete = || "Error in the JQL Query: it is incomplete.".to_owned();
    let [Token::Word(field, _), operator, rest @ ..] = tokens else { return Err(incomplete()) };
    let (values, rest) = match (operator, rest) {
        (Token::Sign("=" | ">="), [Token::Word(value, _), rest @ ..]) => (vec![value.clone()], rest),
        (operator, [Token::Sign("("), rest @ ..]) if operator.is_word("in") => list(rest).ok_or_else(incomplete)?,
        _ => return Err(format!("Error in the JQL Query: {operator:?} is nothing that this fake understands after '{field}'.")),
    };
    let is_from = *operator == Token::Sign(">=");
    let term = match field.to_ascii_lowercase().as_str() {
        "project" if !is_from => Term::Project(values),
        "labels" if !is_from => Term::Labels(values),
        "key" | "issuekey" | "issue" | "id" if !is_from => Term::Key(values),
        "updated" | "updateddate" if is_from => Term::UpdatedFrom(time(&values[0], now)?),
        _ => return Err(format!("Field '{field}' does not exist or you do not have permission to view it, or not with {operator:?}.")),
    };
    Ok((term, rest))
}

/// Values parted by commas, and what follows their closing parenthesis.
fn list(mut tokens: &[Token]) -> Option<(Vec<String>, &[Token])> {
    let mut values = Vec::new();
    loop {
        let [Token::Word(value, _), next, rest @ ..] = tokens else { return None };
        values.push(value.clone());
        match next {
            Token::Sign(",") => tokens = rest,
            Token::Sign(")") => return Some((values, rest)),
            _ => return None,
        }
    }
}

/// `-5m` and its like, or a minute, or a day. The site's time zone is UTC.
fn time(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let wrong =
        || format!("Date value '{text}' for field 'updated' is invalid. Valid are 'yyyy-MM-dd HH:mm', 'yyyy-MM-dd', or a period as '-5d'.");
    if let Some(ago) = text.strip_prefix('-') {
        let unit = ago.chars().last().ok_or_else(wrong)?;
        let minutes = match unit {
            'm' => 1,
            'h' => 60,
            'd' => 24 * 60,
            'w' => 7 * 24 * 60,
            _ => return Err(wrong()),
        };
        let many: u64 = ago[..ago.len() - 1].parse().map_err(|_| wrong())?;
        let ago = SignedDuration::try_from(Duration::from_secs(many.saturating_mul(minutes * 60))).map_err(|_| wrong())?;
        return now.checked_sub(ago).map_err(|_| wrong());
    }
    let text = text.replace('/', "-");
    let at = match text.len() {
        10 => text.parse::<civil::Date>().map(|day| day.at(0, 0, 0, 0)),
        16 => civil::DateTime::strptime("%Y-%m-%d %H:%M", &text),
        _ => return Err(wrong()),
    };
    let at = at.map_err(|_| wrong())?;
    jiff::tz::TimeZone::UTC.to_timestamp(at).map_err(|_| wrong())
}

impl Query {
    pub(crate) fn terms(&self) -> &[Term] {
        &self.0
    }

    pub(crate) fn holds_for(&self, issue: &Issue) -> bool {
        self.0.iter().all(|term| match term {
            Term::Project(keys) => keys.iter().any(|key| key.eq_ignore_ascii_case(&issue.project)),
            Term::Labels(labels) => labels.iter().any(|label| issue.labels.contains(label)),
            Term::Key(keys) => keys.iter().any(|key| *key == issue.key || *key == issue.id || issue.old_keys.contains(key)),
            Term::UpdatedFrom(at) => issue.updated >= *at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_somebody_needs_is_read() {
        let now = at("2026-11-29T08:30:30Z");
        let query = read("project = SEC AND labels in (\"a\", 'b c') and updated >= -5m ORDER BY updated DESC", now).unwrap();
        let labels = Term::Labels(vec!["a".to_owned(), "b c".to_owned()]);
        assert_eq!(query.terms(), [Term::Project(vec!["SEC".to_owned()]), labels, Term::UpdatedFrom(at("2026-11-29T08:25:30Z"))]);
        assert_eq!(read("updated>=\"2026/11/29 08:30\"", now).unwrap().terms(), [Term::UpdatedFrom(at("2026-11-29T08:30:00Z"))]);
        assert_eq!(read(r#"labels = "a\"b\\""#, now).unwrap().terms(), [Term::Labels(vec!["a\"b\\".to_owned()])]);
    }

    #[test]
    fn all_else_is_refused() {
        for jql in [
            "",
            "ORDER BY key",
            "text ~ \"x\"",
            "project = A OR project = B",
            "labels = ",
            "labels in (a",
            "labels in ()",
            "project != A",
            "summary = x",
            "updated >= yesterday",
            "updated = -5m",
            "project >= A",
            "labels = \"open",
            "project = A AND",
            "NOT project = A",
        ] {
            assert!(read(jql, Timestamp::UNIX_EPOCH).is_err(), "{jql}");
        }
    }
}
