//! The calls of Jira Cloud's API that are needed, each within bounds of time and bytes, and none followed to another address.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use faultline_stream::chain;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Method, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use url::Url;

use super::answer::{Answer, Nature};
use super::config::{Site, SiteError, below};
use super::issue::{Account, Draft, Edit, Found, Issue, PROPERTY, Seen, Told, is_name};
use super::jql;
use super::meta::{FieldsPage, IssueType, IssueTypes, Page, Permissions, RequiredField, ToldPermissions};
use super::transition::{Target, Transitions, Went, choose};
use super::trouble::Trouble;
use super::words::Secrets;

/// The longest answer that is read, in bytes: transitions tell all values that each field of their screens can have.
const ANSWER_BYTES: usize = 4 << 20;
/// The longest that it takes to connect; what takes longer was surely not sent.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a connection is kept that nothing goes through: one that Jira has closed meanwhile would make a call unknown.
const IDLE: Duration = Duration::from_secs(20);
/// Entries of a page, and the most pages: with one mark there are a few issues, and a project has some dozens of types and fields.
const PAGE: usize = 50;
const PAGES: usize = 10;
/// The shortest and the longest token, in bytes.
const LEAST_TOKEN: usize = 8;
const LONGEST_TOKEN: usize = 4_096;
/// The longest that Jira takes, in characters.
const TITLE: usize = 255;

const READS: Nature = Nature { is_of_issue: false, is_repeatable: true };
const READS_ISSUE: Nature = Nature { is_of_issue: true, is_repeatable: true };
const MAKES_ISSUE: Nature = Nature { is_of_issue: false, is_repeatable: false };
const CHANGES_ISSUE: Nature = Nature { is_of_issue: true, is_repeatable: true };
const ADDS_TO_ISSUE: Nature = Nature { is_of_issue: true, is_repeatable: false };

/// Calls one site: without redirects and proxies, and without asking twice by itself. Shown, it shows no token.
pub struct Client {
    site: String,
    base: Url,
    authorization: HeaderValue,
    http: reqwest::Client,
    secrets: Secrets,
}

/// A call as it is to be made.
struct Call<'c> {
    method: Method,
    /// What follows on `/rest/api/3`.
    path: &'c [&'c str],
    query: &'c [(&'c str, &'c str)],
    body: Option<Value>,
    nature: Nature,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("site", &self.site).finish_non_exhaustive()
    }
}

impl Client {
    /// Reads the token, with the longest time that a call may take.
    pub fn new(site: &Site, timeout: Duration) -> Result<Self, SiteError> {
        let (id, path) = (site.id.clone(), site.token_file.clone());
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) => return Err(SiteError::Token { site: id, path, source }),
        };
        let token = text.trim();
        if !(LEAST_TOKEN..=LONGEST_TOKEN).contains(&token.len()) || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SiteError::Form { site: id, path, least: LEAST_TOKEN, most: LONGEST_TOKEN });
        }
        let (scheme, credentials) = match &site.user {
            Some(user) => ("Basic", BASE64_STANDARD.encode(format!("{user}:{token}"))),
            None => ("Bearer", token.to_owned()),
        };
        let mut authorization = HeaderValue::from_str(&format!("{scheme} {credentials}")).expect("base64 and graphic ASCII make a header");
        authorization.set_sensitive(true);
        // Chosen already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(timeout)
            .connect_timeout(CONNECT.min(timeout))
            .pool_idle_timeout(IDLE)
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .user_agent(concat!("faultline/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| SiteError::Calls { site: id.clone(), source })?;
        let secrets = Secrets::new([credentials, token.to_owned()]);
        Ok(Self { site: id, base: site.api_base.clone(), authorization, http, secrets })
    }

    /// The issues with a label, the lowest id first; at most 500. Jira finds a new issue seconds to minutes after it was made: none
    /// found says nothing before that.
    pub async fn find(&self, label: &str) -> Result<Vec<Found>, Trouble> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Page {
            issues: Vec<Told>,
            next_page_token: Option<String>,
            #[serde(default)]
            is_last: bool,
        }
        let mut body =
            json!({ "jql": jql::marked(label), "fields": ["status", "labels", "project"], "properties": [PROPERTY], "maxResults": PAGE });
        let mut found: Vec<Found> = Vec::new();
        for _ in 0..PAGES {
            let call = Call { method: Method::POST, path: &["search", "jql"], query: &[], body: Some(body.clone()), nature: READS };
            let page: Page = self.holds(call).await?;
            found.extend(page.issues.into_iter().map(Told::found));
            match page.next_page_token.filter(|_| !page.is_last) {
                Some(token) => body["nextPageToken"] = token.into(),
                None => break,
            }
        }
        // Ids are numbers, written as texts; pages shift while they are read.
        found.sort_by(|a, b| (a.issue.id.len(), &a.issue.id).cmp(&(b.issue.id.len(), &b.issue.id)));
        let mut known = HashSet::new();
        found.retain(|found| known.insert(found.issue.id.clone()));
        Ok(found)
    }

    /// Makes an issue with its marks, all in one call.
    pub async fn create(&self, draft: &Draft) -> Result<Issue, Trouble> {
        self.holds(Call { method: Method::POST, path: &["issue"], query: &[], body: Some(draft.body()), nature: MAKES_ISSUE }).await
    }

    /// An issue as it is now.
    pub async fn read(&self, id: &str) -> Result<Seen, Trouble> {
        let query = [("fields", "status,labels,summary,assignee,resolution,project"), ("properties", PROPERTY)];
        let path = ["issue", name(id)?];
        let told: Told = self.holds(Call { method: Method::GET, path: &path, query: &query, body: None, nature: READS_ISSUE }).await?;
        Ok(told.seen())
    }

    /// Writes what is named. Nothing to write is no call.
    pub async fn edit(&self, id: &str, edit: &Edit) -> Result<(), Trouble> {
        let Some(body) = edit.body() else { return Ok(()) };
        let query: &[(&str, &str)] = if edit.is_quiet { &[("notifyUsers", "false")] } else { &[] };
        self.change(Method::PUT, &["issue", name(id)?], query, body, CHANGES_ISSUE).await
    }

    /// Adds a label; one that is there stays.
    pub async fn ensure_label(&self, id: &str, label: &str) -> Result<(), Trouble> {
        let body = json!({ "update": { "labels": [{ "add": label }] } });
        self.change(Method::PUT, &["issue", name(id)?], &[], body, CHANGES_ISSUE).await
    }

    /// Brings an issue to where it is to be, by one transition if it is not there. May be called again after any trouble: it looks first.
    pub async fn go_to(&self, id: &str, target: Target, done_fields: &Map<String, Value>) -> Result<Went, Trouble> {
        if target.is(self.read(id).await?.category) {
            return Ok(Went::Already);
        }
        let (path, query) = (["issue", name(id)?, "transitions"], [("expand", "transitions.fields")]);
        let told: Transitions =
            self.holds(Call { method: Method::GET, path: &path, query: &query, body: None, nature: READS_ISSUE }).await?;
        match choose(&told, target, done_fields) {
            // Not made again when it was made already: from there the same transition leads nowhere, which is refused.
            Ok(body) => self.change(Method::POST, &path, &[], body, CHANGES_ISSUE).await.map(|()| Went::Moved),
            Err(reason) => Ok(Went::NoWay { reason: self.secrets.told(&reason) }),
        }
    }

    /// Says something (ADF) below an issue. After [`Trouble::Unknown`] it may stand there: asking again can say it twice.
    pub async fn comment(&self, id: &str, body: &Value) -> Result<(), Trouble> {
        self.change(Method::POST, &["issue", name(id)?, "comment"], &[], json!({ "body": body }), ADDS_TO_ISSUE).await
    }

    /// Links an issue to a page. One link for each global id: the same again replaces it.
    pub async fn link(&self, id: &str, global_id: &str, url: &str, title: &str) -> Result<(), Trouble> {
        let title: String = title.chars().take(TITLE).collect();
        let application = json!({ "type": "org.faultline", "name": "Faultline" });
        let body = json!({ "globalId": global_id, "application": application, "object": { "url": url, "title": title } });
        self.change(Method::POST, &["issue", name(id)?, "remotelink"], &[], body, CHANGES_ISSUE).await
    }

    /// Who we are there.
    pub async fn myself(&self) -> Result<Account, Trouble> {
        self.holds(Call { method: Method::GET, path: &["myself"], query: &[], body: None, nature: READS }).await
    }

    /// What a new issue of a type must have and Jira does not fill in itself. A type that the project does not have is refused, as it would be
    /// for the issue.
    pub async fn required_fields(&self, project: &str, issue_type: &str) -> Result<Vec<RequiredField>, Trouble> {
        let path = ["issue", "createmeta", name(project)?, "issuetypes"];
        let types: Vec<IssueType> = self.all::<IssueTypes>(&path).await?;
        let Some(known) = types.iter().find(|known| known.name.eq_ignore_ascii_case(issue_type)) else {
            let names: Vec<&str> = types.iter().map(|known| known.name.as_str()).collect();
            let reason = self.secrets.told(&format!("{project} has no type {issue_type:?} for us, but {}", names.join(", ")));
            return Err(Trouble::Refused { status: 400, fields: BTreeMap::from([("issuetype".to_owned(), reason.clone())]), reason });
        };
        let path = ["issue", "createmeta", name(project)?, "issuetypes", name(&known.id)?];
        let fields = self.all::<FieldsPage>(&path).await?;
        Ok(fields.into_iter().filter_map(super::meta::Field::required).collect())
    }

    /// What we may do in a project.
    pub async fn permissions(&self, project: &str) -> Result<Permissions, Trouble> {
        let names = Permissions::names();
        let query = [("projectKey", project), ("permissions", names.as_str())];
        let call = Call { method: Method::GET, path: &["mypermissions"], query: &query, body: None, nature: READS };
        Ok(self.holds::<ToldPermissions>(call).await?.permissions())
    }

    /// All entries of what is listed in pages, up to a bound.
    async fn all<P: Page + DeserializeOwned>(&self, path: &[&str]) -> Result<Vec<P::Entry>, Trouble> {
        let (mut all, most) = (Vec::new(), PAGE.to_string());
        for _ in 0..PAGES {
            let start = all.len().to_string();
            let query = [("startAt", start.as_str()), ("maxResults", most.as_str())];
            let page: P = self.holds(Call { method: Method::GET, path, query: &query, body: None, nature: READS }).await?;
            let (entries, total) = page.entries();
            let is_last = entries.is_empty();
            all.extend(entries);
            if is_last || all.len() as u64 >= total {
                break;
            }
        }
        Ok(all)
    }

    async fn holds<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, Trouble> {
        let nature = call.nature;
        self.ask(call).await?.holds(nature, &self.secrets)
    }

    async fn change(&self, method: Method, path: &[&str], query: &[(&str, &str)], body: Value, nature: Nature) -> Result<(), Trouble> {
        self.ask(Call { method, path, query, body: Some(body), nature }).await?.is_done(nature, &self.secrets)
    }

    async fn ask(&self, call: Call<'_>) -> Result<Answer, Trouble> {
        let mut url = below(&self.base, ["rest", "api", "3"].iter().chain(call.path).copied());
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query);
        }
        let mut request =
            self.http.request(call.method, url).header(AUTHORIZATION, self.authorization.clone()).header(ACCEPT, "application/json");
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        match request.send().await {
            Ok(response) => {
                let (status, headers) = (response.status(), response.headers().clone());
                Ok(Answer { status, headers, body: read(response).await })
            }
            Err(error) => {
                let is_unsent = error.is_connect() || error.is_builder();
                let reason = self.secrets.told(&chain(&error.without_url()));
                Err(if is_unsent { Trouble::NotSent { reason } } else { Trouble::Unknown { reason, after: None } })
            }
        }
    }
}

/// An id or a key, as a part of an address.
fn name(text: &str) -> Result<&str, Trouble> {
    if is_name(text) { Ok(text) } else { Err(Trouble::NotSent { reason: "what is to be asked for has no id or key".to_owned() }) }
}

async fn read(mut response: Response) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| format!("it broke off: {}", chain(&error.without_url())))? {
        if bytes.len() + chunk.len() > ANSWER_BYTES {
            return Err(format!("it is longer than {ANSWER_BYTES} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
