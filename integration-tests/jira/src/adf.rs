//! The Atlassian Document Format, as far as Jira looks at it.

use serde_json::{Value, json};

/// The longest text of a description or comment, in UTF-16 units (JRACLOUD-68949).
pub(crate) const TEXT_UNITS: usize = 32_767;

const NODES: [&str; 31] = [
    "blockquote",
    "bulletList",
    "codeBlock",
    "expand",
    "heading",
    "mediaGroup",
    "mediaSingle",
    "orderedList",
    "panel",
    "paragraph",
    "rule",
    "table",
    "tableRow",
    "tableHeader",
    "tableCell",
    "listItem",
    "nestedExpand",
    "text",
    "hardBreak",
    "mention",
    "emoji",
    "inlineCard",
    "blockCard",
    "date",
    "status",
    "taskList",
    "taskItem",
    "decisionList",
    "decisionItem",
    "media",
    "mediaInline",
];
const MARKS: [&str; 10] = ["backgroundColor", "border", "code", "em", "link", "strike", "strong", "subsup", "textColor", "underline"];

const NO_DOCUMENT: &str = "Operation value must be an Atlassian Document (see the Atlassian Document Format)";
const TOO_LONG: &str = "The entered text is too long. It exceeds the allowed limit of 32,767 characters.";
const INVALID: &str = "INVALID_INPUT";

/// What Jira has against a document, if anything.
pub(crate) fn objection(document: &Value) -> Option<&'static str> {
    let Some(content) = document["content"].as_array() else { return Some(NO_DOCUMENT) };
    if document["type"] != "doc" || document["version"] != 1 || document.as_object().is_some_and(|members| members.len() != 3) {
        return Some(NO_DOCUMENT);
    }
    let mut units = 0;
    if !content.iter().all(|node| is_valid(node, &mut units)) {
        return Some(INVALID);
    }
    (units > TEXT_UNITS).then_some(TOO_LONG)
}

fn is_valid(node: &Value, units: &mut usize) -> bool {
    if !node["type"].as_str().is_some_and(|kind| NODES.contains(&kind)) {
        return false;
    }
    if node["type"] == "text" {
        let Some(text) = node["text"].as_str().filter(|text| is_text(text)) else { return false };
        *units += text.encode_utf16().count();
    }
    let marks = node["marks"].as_array().into_iter().flatten();
    let content = node["content"].as_array().into_iter().flatten();
    marks.into_iter().all(|mark| mark["type"].as_str().is_some_and(|kind| MARKS.contains(&kind)))
        && content.into_iter().all(|node| is_valid(node, units))
}

/// Empty text is refused; so are control characters, other than those that part lines and columns.
fn is_text(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|letter| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t'))
}

/// One paragraph.
pub(crate) fn paragraph(text: &str) -> Value {
    json!({"type": "doc", "version": 1, "content": [{"type": "paragraph", "content": [{"type": "text", "text": text}]}]})
}

/// All of its text, one line a node.
pub(crate) fn plain(document: &Value) -> String {
    let mut texts = Vec::new();
    collect(document, &mut texts);
    texts.join("\n")
}

fn collect<'a>(node: &'a Value, texts: &mut Vec<&'a str>) {
    texts.extend(node["text"].as_str());
    for inner in node["content"].as_array().into_iter().flatten() {
        collect(inner, texts);
    }
}
