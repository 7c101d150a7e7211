//! Who works at the site.

use serde_json::{Value, json};

#[derive(Clone, Debug)]
pub struct User {
    pub account_id: String,
    pub name: String,
    pub email: String,
    /// Who left cannot be an assignee.
    pub is_active: bool,
}

impl User {
    pub fn new(account_id: &str, name: &str, email: &str) -> Self {
        Self { account_id: account_id.to_owned(), name: name.to_owned(), email: email.to_owned(), is_active: true }
    }

    pub(crate) fn json(&self, url: &str) -> Value {
        json!({
            "self": format!("{url}/rest/api/3/user?accountId={}", self.account_id),
            "accountId": self.account_id,
            "accountType": "atlassian",
            "displayName": self.name,
            "emailAddress": self.email,
            "active": self.is_active,
            "timeZone": "Etc/UTC",
        })
    }
}

pub(crate) fn user_json(url: &str, users: &[User], account: &str) -> Value {
    users.iter().find(|user| user.account_id == account).map_or(Value::Null, |user| user.json(url))
}
