//! The state of the site, and the one way in which it changes.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::Watch;
use crate::fields::Set;
use crate::issue::{Change, ChangeItem, Comment, Issue, Kept};
use crate::options::Options;
use crate::project::Project;
use crate::user::User;
use crate::webhook::{Event, Outbox};
use crate::workflow::Category;

/// The first id is one more, of issues and all else that is numbered.
const BEFORE_FIRST_ID: u64 = 10_000;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) url: String,
    pub(crate) watch: Watch,
    pub(crate) lag: Duration,
    /// The account that requests come from.
    pub(crate) account: String,
    pub(crate) token: String,
    pub(crate) users: Vec<User>,
    pub(crate) projects: Vec<Project>,
    pub(crate) issues: BTreeMap<u64, Kept>,
    pub(crate) outbox: Outbox,
    last_issue: u64,
    last_number: BTreeMap<String, u64>,
    last_other: u64,
}

/// What a new issue is to be.
pub(crate) struct NewIssue {
    pub(crate) project: String,
    pub(crate) issue_type: String,
    pub(crate) sets: Vec<Set>,
    pub(crate) properties: BTreeMap<String, serde_json::Value>,
}

impl World {
    pub(crate) fn new(url: String, options: Options) -> Self {
        let us = User::new("712020:faultline", "Faultline", &options.user);
        Self {
            url,
            watch: Watch::new(options.clock),
            lag: options.lag,
            account: us.account_id.clone(),
            token: options.token,
            users: std::iter::once(us).chain(options.users).collect(),
            projects: options.projects,
            issues: BTreeMap::new(),
            outbox: Outbox::default(),
            last_issue: BEFORE_FIRST_ID,
            last_number: BTreeMap::new(),
            last_other: BEFORE_FIRST_ID,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.watch.now()
    }

    /// By its key or id.
    pub(crate) fn project(&self, key_or_id: &str) -> Option<&Project> {
        let at = self.projects.iter().position(|project| project.key == key_or_id || self.project_id(&project.key) == key_or_id)?;
        self.projects.get(at)
    }

    pub(crate) fn project_mut(&mut self, key: &str) -> Option<&mut Project> {
        self.projects.iter_mut().find(|project| project.key == key)
    }

    /// Ids of projects count from 10000 in their order.
    pub(crate) fn project_id(&self, key: &str) -> String {
        let at = self.projects.iter().position(|project| project.key == key).unwrap_or(usize::MAX >> 1);
        (at as u64 + BEFORE_FIRST_ID).to_string()
    }

    pub(crate) fn project_of(&self, issue: &Issue) -> &Project {
        self.project(&issue.project).expect("an issue's project is there")
    }

    /// An issue by its id or one of its keys, also if it was deleted.
    pub(crate) fn find(&self, id_or_key: &str) -> Option<u64> {
        if let Ok(id) = id_or_key.parse() {
            return self.issues.contains_key(&id).then_some(id);
        }
        let is_it = |kept: &Kept| kept.issue.key == id_or_key || kept.issue.old_keys.iter().any(|key| key == id_or_key);
        self.issues.iter().find(|(_, kept)| is_it(kept)).map(|(id, _)| *id)
    }

    pub(crate) fn issue(&self, id: u64) -> &Issue {
        &self.issues.get(&id).expect("ids come from find").issue
    }

    fn issue_mut(&mut self, id: u64) -> &mut Issue {
        &mut self.issues.get_mut(&id).expect("ids come from find").issue
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_other += 1;
        self.last_other
    }

    fn next_key(&mut self, project: &str) -> String {
        let last = self.last_number.entry(project.to_owned()).or_default();
        *last += 1;
        format!("{project}-{last}")
    }

    pub(crate) fn create(&mut self, author: &str, new: NewIssue) -> u64 {
        self.last_issue += 1;
        let id = self.last_issue;
        let (now, key) = (self.now(), self.next_key(&new.project));
        let status = self.project(&new.project).expect("the project was looked at").workflow.first().id.to_owned();
        let mut issue = Issue {
            id: id.to_string(),
            key,
            old_keys: Vec::new(),
            project: new.project,
            issue_type: new.issue_type,
            summary: String::new(),
            description: None,
            labels: Vec::new(),
            assignee: None,
            reporter: author.to_owned(),
            status,
            resolution: None,
            others: serde_json::Map::new(),
            properties: new.properties,
            comments: Vec::new(),
            remote_links: Vec::new(),
            changelog: Vec::new(),
            created: now,
            updated: now,
            is_deleted: false,
            is_hidden: false,
        };
        for set in new.sets {
            set.apply(&mut issue, &self.users);
        }
        self.issues.insert(id, Kept::new(issue));
        self.changed(id, author, Event::Created, Vec::new());
        id
    }

    /// Edits fields; what is so already is no change, and leaves no trace.
    pub(crate) fn edit(&mut self, id: u64, author: &str, sets: Vec<Set>) {
        let mut items = Vec::new();
        let users = self.users.clone();
        let issue = self.issue_mut(id);
        items.extend(sets.into_iter().filter_map(|set| set.apply(issue, &users)));
        self.updated(id, author, items);
    }

    /// Brings an issue into a status, with or without a resolution that somebody gave.
    pub(crate) fn enter(&mut self, id: u64, author: &str, status: &str, resolution: Option<String>) {
        let issue = self.issue(id);
        let workflow = self.project_of(issue).workflow.clone();
        let name = |id: &str| workflow.status(id).map(|status| status.name.to_owned());
        let mut items = Vec::new();
        if issue.status != status {
            items.push(ChangeItem {
                field: "status".to_owned(),
                from: Some(issue.status.clone()),
                from_text: name(&issue.status),
                to: Some(status.to_owned()),
                to_text: name(status),
            });
        }
        let is_done = workflow.status(status).is_some_and(|status| status.category == Category::Done);
        let resolution = match workflow.resolving {
            crate::workflow::Resolving::Itself if is_done => Some("Done".to_owned()),
            crate::workflow::Resolving::Asked if is_done => resolution.or_else(|| Some("Done".to_owned())),
            _ => None,
        };
        if issue.resolution != resolution {
            items.push(ChangeItem::new("resolution", issue.resolution.clone(), resolution.clone()));
        }
        let issue = self.issue_mut(id);
        issue.resolution = resolution;
        status.clone_into(&mut issue.status);
        self.updated(id, author, items);
    }

    pub(crate) fn comment(&mut self, id: u64, author: &str, body: serde_json::Value) -> Comment {
        let comment = Comment { id: self.next_id().to_string(), author: author.to_owned(), body, created: self.now() };
        self.issue_mut(id).comments.push(comment.clone());
        self.touched(id);
        let event = Event::Commented(comment.clone());
        self.tell(id, author, event, None);
        comment
    }

    /// Moves an issue: its key changes, its id does not. What it was called still leads to it.
    pub(crate) fn move_to(&mut self, id: u64, author: &str, project: &str) {
        let key = self.next_key(project);
        let status = self.project(project).expect("the project was looked at").workflow.first().id.to_owned();
        let issue = self.issue_mut(id);
        let items = vec![
            ChangeItem::new("project", Some(issue.project.clone()), Some(project.to_owned())),
            ChangeItem::new("Key", Some(issue.key.clone()), Some(key.clone())),
        ];
        let old = std::mem::replace(&mut issue.key, key);
        issue.old_keys.push(old);
        project.clone_into(&mut issue.project);
        // The workflow is another one: the issue begins anew in it.
        (issue.status, issue.resolution) = (status, None);
        self.updated(id, author, items);
    }

    pub(crate) fn delete(&mut self, id: u64, author: &str) {
        self.tell(id, author, Event::Deleted, None);
        self.issue_mut(id).is_deleted = true;
        self.touched(id);
    }

    pub(crate) fn hide(&mut self, id: u64, is_hidden: bool) {
        self.issue_mut(id).is_hidden = is_hidden;
    }

    /// What changes no field: properties and remote links. Neither `updated` nor the changelog knows of it.
    pub(crate) fn attach(&mut self, id: u64, attach: impl FnOnce(&mut Issue)) {
        attach(self.issue_mut(id));
    }

    fn updated(&mut self, id: u64, author: &str, items: Vec<ChangeItem>) {
        if !items.is_empty() {
            self.changed(id, author, Event::Updated, items);
        }
    }

    fn changed(&mut self, id: u64, author: &str, event: Event, items: Vec<ChangeItem>) {
        let mut change = None;
        if !items.is_empty() {
            let entry = Change { id: self.next_id().to_string(), author: author.to_owned(), created: self.now(), items };
            self.issue_mut(id).changelog.push(entry.clone());
            change = Some(entry);
        }
        self.touched(id);
        self.tell(id, author, event, change);
    }

    /// It was updated now, which search sees later.
    fn touched(&mut self, id: u64) {
        let now = self.now();
        let lag = SignedDuration::try_from(self.lag).expect("a lag is within what can be written");
        let visible = now.checked_add(lag).unwrap_or(Timestamp::MAX);
        let kept = self.issues.get_mut(&id).expect("ids come from find");
        kept.issue.updated = now;
        kept.index(now, visible);
    }

    fn tell(&mut self, id: u64, author: &str, event: Event, change: Option<Change>) {
        if !self.outbox.is_wanted() {
            return;
        }
        let message = event.message(self, self.issue(id), author, change.as_ref());
        self.outbox.put(event.name(), &self.issue(id).id.clone(), &message);
    }
}
