//! Comments.

use serde_json::{Value, json};

use super::{Answered, Asked, Reply, changeable, issue_of};
use crate::adf;
use crate::world::World;

/// The most that an issue has.
const COMMENTS: usize = 5_000;

pub(super) fn list(world: &mut World, asked: &Asked) -> Answered {
    let issue = world.issue(issue_of(world, asked)?);
    let (start, most) = asked.page(100)?;
    let mut comments: Vec<&crate::issue::Comment> = issue.comments.iter().collect();
    if asked.first("orderBy") == Some("-created") {
        comments.reverse();
    }
    let page: Vec<Value> = comments.iter().skip(start).take(most).map(|comment| comment.json(issue, &world.url, &world.users)).collect();
    Ok(Reply::ok(json!({"startAt": start, "maxResults": most, "total": comments.len(), "comments": page})))
}

pub(super) fn add(world: &mut World, asked: &Asked) -> Answered {
    let id = changeable(world, asked, "ADD_COMMENTS")?;
    let body = &asked.body["body"];
    checked(body).map_err(|reason| Reply::wrong_field("comment", reason))?;
    if world.issue(id).comments.len() >= COMMENTS {
        return Err(Reply::refused(400, format!("The issue has {COMMENTS} comments, which is the limit.")));
    }
    let author = world.account.clone();
    let comment = world.comment(id, &author, body.clone());
    Ok(Reply::created(comment.json(world.issue(id), &world.url, &world.users)))
}

pub(super) fn checked(body: &Value) -> Result<(), &'static str> {
    match adf::objection(body) {
        None if adf::plain(body).trim().is_empty() => Err("Comment body can not be empty!"),
        None => Ok(()),
        Some(_) if !body.is_object() => Err("Comment body is not valid!"),
        Some(reason) => Err(reason),
    }
}
