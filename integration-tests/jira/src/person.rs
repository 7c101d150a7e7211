//! What persons do at the site, beside us.

use crate::adf;
use crate::door::Shared;
use crate::fields::Set;
use crate::workflow::Category;

/// Why a person cannot do that.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    #[error("there is no issue {0}")]
    NoIssue(String),
    #[error("there is no project {0}")]
    NoProject(String),
    #[error("the workflow of {issue} has no status that is meant by {status}")]
    NoStatus { issue: String, status: String },
}

/// Somebody who works at the site by hand. Issues are named by id or key.
pub struct Person<'a> {
    shared: &'a Shared,
    account: String,
}

impl<'a> Person<'a> {
    pub(crate) fn new(shared: &'a Shared, account: String) -> Self {
        Self { shared, account }
    }

    fn with<T>(&self, issue: &str, act: impl FnOnce(&mut crate::world::World, u64) -> T) -> Result<T, ActError> {
        let mut world = self.shared.world();
        let id = world.find(issue).filter(|id| !world.issue(*id).is_deleted).ok_or_else(|| ActError::NoIssue(issue.to_owned()))?;
        Ok(act(&mut world, id))
    }

    fn enter(&self, issue: &str, status: &str, is_it: impl Fn(&crate::workflow::Status) -> bool) -> Result<(), ActError> {
        self.with(issue, |world, id| {
            let workflow = &world.project_of(world.issue(id)).workflow;
            let to = workflow.statuses.iter().find(|status| is_it(status)).map(|status| status.id.to_owned());
            let to = to.ok_or_else(|| ActError::NoStatus { issue: issue.to_owned(), status: status.to_owned() })?;
            world.enter(id, &self.account, &to, None);
            Ok(())
        })?
    }

    /// Into the first status that is done, by whatever ways, screens filled in.
    pub fn close(&self, issue: &str) -> Result<(), ActError> {
        self.enter(issue, "done", |status| status.category == Category::Done)
    }

    /// Into the first status that is new.
    pub fn reopen(&self, issue: &str) -> Result<(), ActError> {
        self.enter(issue, "new", |status| status.category == Category::New)
    }

    /// Into the status of that name.
    pub fn enter_status(&self, issue: &str, name: &str) -> Result<(), ActError> {
        self.enter(issue, name, |status| status.name == name)
    }

    fn edit(&self, issue: &str, set: impl FnOnce(&crate::issue::Issue) -> Set) -> Result<(), ActError> {
        self.with(issue, |world, id| {
            let set = set(world.issue(id));
            world.edit(id, &self.account, vec![set]);
        })
    }

    /// By `accountId`; nobody if there is none.
    pub fn assign(&self, issue: &str, account: Option<&str>) -> Result<(), ActError> {
        self.edit(issue, |_| Set::Assignee(account.map(str::to_owned)))
    }

    pub fn add_label(&self, issue: &str, label: &str) -> Result<(), ActError> {
        self.edit(issue, |issue| Set::Labels(issue.labels.iter().cloned().chain([label.to_owned()]).collect()))
    }

    pub fn remove_label(&self, issue: &str, label: &str) -> Result<(), ActError> {
        self.edit(issue, |issue| Set::Labels(issue.labels.iter().filter(|other| *other != label).cloned().collect()))
    }

    pub fn edit_summary(&self, issue: &str, summary: &str) -> Result<(), ActError> {
        self.edit(issue, |_| Set::Summary(summary.to_owned()))
    }

    /// Makes this text the whole description.
    pub fn edit_description(&self, issue: &str, text: &str) -> Result<(), ActError> {
        self.edit(issue, |_| Set::Description(Some(adf::paragraph(text))))
    }

    pub fn comment(&self, issue: &str, text: &str) -> Result<(), ActError> {
        self.with(issue, |world, id| drop(world.comment(id, &self.account, adf::paragraph(text))))
    }

    /// The issue gets another key and keeps its id; its old key still leads to it.
    pub fn move_to(&self, issue: &str, project: &str) -> Result<(), ActError> {
        self.with(issue, |world, id| {
            world.project(project).ok_or_else(|| ActError::NoProject(project.to_owned()))?;
            world.move_to(id, &self.account, project);
            Ok(())
        })?
    }

    pub fn delete(&self, issue: &str) -> Result<(), ActError> {
        self.with(issue, |world, id| world.delete(id, &self.account))
    }

    /// By a security level that our account is not in.
    pub fn hide(&self, issue: &str) -> Result<(), ActError> {
        self.with(issue, |world, id| world.hide(id, true))
    }

    pub fn unhide(&self, issue: &str) -> Result<(), ActError> {
        self.with(issue, |world, id| world.hide(id, false))
    }

    fn change_project(&self, project: &str, change: impl FnOnce(&mut crate::project::Project)) -> Result<(), ActError> {
        let mut world = self.shared.world();
        change(world.project_mut(project).ok_or_else(|| ActError::NoProject(project.to_owned()))?);
        Ok(())
    }

    pub fn archive(&self, project: &str, is_archived: bool) -> Result<(), ActError> {
        self.change_project(project, |project| project.is_archived = is_archived)
    }

    /// Takes a permission from our account, by its key (`CREATE_ISSUES`). Without `BROWSE_PROJECTS` the project is not there for it.
    pub fn forbid(&self, project: &str, permission: &str) -> Result<(), ActError> {
        self.change_project(project, |project| project.denied.extend([permission.to_owned()]))
    }

    pub fn allow(&self, project: &str, permission: &str) -> Result<(), ActError> {
        self.change_project(project, |project| project.denied.retain(|other| other != permission))
    }
}
