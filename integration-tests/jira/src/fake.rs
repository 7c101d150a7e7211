//! The fake as a test has it in its hands.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::control;
use crate::door::{self, Shared};
use crate::fault::{Armed, Fault};
use crate::issue::Issue;
use crate::options::Options;
use crate::person::Person;
use crate::request::Request;
use crate::webhook::{self, DeliveryError, Target, Webhook};
use crate::world::World;

/// A site that runs until this is dropped, on a thread of its own: tests with and without a runtime can have one.
pub struct FakeJira {
    shared: Arc<Shared>,
    url: String,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FakeJira {
    /// Panics if it cannot listen, which a test can do nothing about.
    pub fn start(options: Options) -> Self {
        let listen = options.listen;
        Self::try_start(options).unwrap_or_else(|error| panic!("the fake cannot listen on {listen}: {error}"))
    }

    pub fn try_start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen)?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let shared = Arc::new(Shared::new(World::new(url.clone(), options)));
        let (stop, stopped) = oneshot::channel();
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let inside = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("fake-jira".to_owned())
            .spawn(move || runtime.block_on(door::listen(listener, inside, stopped)))?;
        Ok(Self { shared, url, handle, stop: Some(stop), thread: Some(thread) })
    }

    /// `http://127.0.0.1:PORT`, where a client puts `/rest/api/3/…` behind.
    pub fn url(&self) -> &str {
        &self.url
    }

    // What there is.

    /// All that were not deleted, in the order of their ids.
    pub fn issues(&self) -> Vec<Issue> {
        self.shared.world().issues.values().filter(|kept| !kept.issue.is_deleted).map(|kept| kept.issue.clone()).collect()
    }

    /// One by its id or any of its keys, also if it was deleted.
    pub fn issue(&self, id_or_key: &str) -> Option<Issue> {
        let world = self.shared.world();
        world.find(id_or_key).map(|id| world.issue(id).clone())
    }

    /// Those that bear a label now, whatever search knows.
    pub fn issues_with_label(&self, label: &str) -> Vec<Issue> {
        self.issues().into_iter().filter(|issue| issue.labels.iter().any(|other| other == label)).collect()
    }

    /// `new`, `indeterminate` or `done`.
    pub fn status_category(&self, id_or_key: &str) -> Option<crate::workflow::Category> {
        let world = self.shared.world();
        let issue = world.issue(world.find(id_or_key)?);
        world.project_of(issue).workflow.status(&issue.status).map(|status| status.category)
    }

    /// The `accountId` that requests come from.
    pub fn account(&self) -> String {
        self.shared.world().account.clone()
    }

    /// All requests that came in while it was not down, in the order in which they did.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.gate().requests.clone()
    }

    /// How many of an operation came in.
    pub fn count(&self, operation: &str) -> usize {
        self.shared.gate().requests.iter().filter(|request| request.operation == operation).count()
    }

    pub fn forget_requests(&self) {
        self.shared.forget_requests();
    }

    /// Waits until the log is so, and says whether it came to that in time. Blocks the thread.
    #[must_use]
    pub fn wait_until(&self, patience: Duration, is_so: impl Fn(&[Request]) -> bool) -> bool {
        self.shared.wait_until(patience, is_so)
    }

    // What is to happen.

    /// Moves its clock forward.
    pub fn advance(&self, by: Duration) {
        self.shared.world().watch.advance(by);
    }

    /// For what changes from now on.
    pub fn set_lag(&self, lag: Duration) {
        self.shared.world().lag = lag;
    }

    /// Another token is the valid one: the old one has ended.
    pub fn set_token(&self, token: &str) {
        token.clone_into(&mut self.shared.world().token);
    }

    /// Somebody leaves, or comes back: who left cannot be assigned.
    pub fn set_active(&self, account: &str, is_active: bool) {
        self.shared.world().users.iter_mut().filter(|user| user.account_id == account).for_each(|user| user.is_active = is_active);
    }

    /// Closes each connection as soon as a request comes.
    pub fn down(&self, is_down: bool) {
        self.shared.gate().is_down = is_down;
    }

    /// The first fault that a request meets decides; all of them count it.
    pub fn inject(&self, fault: Fault) {
        self.shared.gate().faults.push(Armed::new(fault));
    }

    pub fn clear_faults(&self) {
        self.shared.gate().faults.clear();
    }

    /// Lets go all that is held now; what comes later is held again.
    pub fn release(&self) {
        self.shared.release();
    }

    /// The first of the other users.
    pub fn as_person(&self) -> Person<'_> {
        Person::new(&self.shared, control::person(&self.shared))
    }

    /// Anybody, by `accountId`.
    pub fn as_user(&self, account: &str) -> Person<'_> {
        Person::new(&self.shared, account.to_owned())
    }

    // Webhooks.

    /// From now on what changes is told there, signed with this secret.
    pub fn set_webhook(&self, url: &str, secret: &str) {
        self.shared.world().outbox.aim(url, secret);
    }

    /// What was not delivered yet, in the order in which it would be.
    pub fn pending_webhooks(&self) -> Vec<Webhook> {
        self.shared.world().outbox.pending.clone()
    }

    /// Changes the order of what is pending, drops some of it, puts a copy in: whatever may happen on the way.
    pub fn rearrange_webhooks(&self, rearrange: impl FnOnce(&mut Vec<Webhook>)) {
        rearrange(&mut self.shared.world().outbox.pending);
    }

    /// Sends each pending one once. What is not taken stays pending, with one more try counted; says how many were taken, or the first
    /// that was not and why.
    pub async fn deliver_webhooks(&self) -> Result<usize, DeliveryError> {
        let mut taken = 0;
        let mut failed = None;
        let mut kept = Vec::new();
        let (target, pending) = {
            let outbox = &mut self.shared.world().outbox;
            (outbox.target.clone(), std::mem::take(&mut outbox.pending))
        };
        for mut webhook in pending {
            let sent = self.send(target.clone(), webhook.clone(), None).await;
            webhook.sent += 1;
            match sent {
                Ok(_) => {
                    taken += 1;
                    self.shared.world().outbox.last = Some(webhook);
                }
                Err(error) => {
                    failed.get_or_insert(error);
                    kept.push(webhook);
                }
            }
        }
        // What happened meanwhile comes behind.
        self.shared.world().outbox.pending.splice(0..0, kept);
        failed.map_or(Ok(taken), Err)
    }

    /// Sends the last one that was taken again, with the same identifier: as if its answer had been lost.
    pub async fn resend_last_webhook(&self) -> Result<u16, DeliveryError> {
        let (target, last) = {
            let outbox = &self.shared.world().outbox;
            (outbox.target.clone(), outbox.last.clone())
        };
        self.send(target, last.ok_or(DeliveryError::NoneYet)?, None).await
    }

    /// Sends a message that is signed with another secret.
    pub async fn send_forged_webhook(&self, webhook: Webhook, secret: &str) -> Result<u16, DeliveryError> {
        let target = self.shared.world().outbox.target.clone();
        self.send(target, webhook, Some(secret.to_owned())).await
    }

    async fn send(&self, target: Option<Target>, webhook: Webhook, forged_with: Option<String>) -> Result<u16, DeliveryError> {
        let target = target.ok_or(DeliveryError::NoTarget)?;
        // On the fake's own runtime: whoever waits may have another one, or none.
        let sending = self.handle.spawn(async move { webhook::send(&target, &webhook, forged_with.as_deref()).await });
        sending.await.unwrap_or(Err(DeliveryError::Stopped))
    }
}

impl Drop for FakeJira {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it is none of this one's.
            let _ = thread.join();
        }
    }
}
