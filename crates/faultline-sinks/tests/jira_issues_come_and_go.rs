//! An issue from its making to its end, at a Jira that has state: with answers that are lost, and a search that is behind.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, SystemTime};

use faultline_fake_jira::{Clock, FakeJira, Fault, Options, What};
use faultline_model::id::Id;
use faultline_model::observation::Severity;
use faultline_model::ticket::WantedTicket;
use faultline_model::time::Timestamp;
use faultline_sinks::jira::text::{TicketText, Words, gone};
use faultline_sinks::jira::{Category, Client, Draft, Edit, Site, Sites, Target, Trouble, Went};
use serde_json::{Map, json};

/// How long search is behind.
const LAG: Duration = Duration::from_mins(1);

fn wanted() -> WantedTicket {
    WantedTicket {
        fix: Id([7; 16]),
        queue: "web".into(),
        moved_from: vec![],
        also: vec![],
        kind: "upgrade".into(),
        what: "org.apache.logging.log4j:log4j-core in pom.xml".into(),
        guidance: "Upgrade to 2.17.1 or newer".into(),
        fixed_versions: vec!["2.17.1".into()],
        score: 870,
        band: Severity::Critical,
        due: Timestamp::from_millis(1_761_209_600_000),
        risks: 1,
        services: 1,
        first_seen: Timestamp::from_millis(1_760_000_000_000),
        first: vec![],
    }
}

fn draft(project: &str) -> Draft {
    let text = TicketText::of(&wanted(), Words::default());
    Draft {
        project: project.into(),
        issue_type: "Task".into(),
        summary: text.summary,
        description: text.description.adf(),
        labels: vec!["faultline-07".into()],
        fields: Map::new(),
        property: json!({ "fix": wanted().fix.to_string() }),
    }
}

/// A Jira whose clock is moved by hand, and a client of it.
fn begin(folder: &tempfile::TempDir) -> (FakeJira, Client) {
    let clock = Clock::ByHand(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000));
    let fake = FakeJira::start(Options { lag: LAG, clock, ..Options::default() });
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, Options::default().token).unwrap();
    let (user, token_file) = (Options::default().user, token_file.display());
    let text = format!("sites: [{{ id: acme, api_base: '{}', user: {user}, token_file: '{token_file}' }}]", fake.url());
    let site: Site = Sites::read("sites.yaml", &text).unwrap().get("acme").unwrap().clone();
    (fake, Client::new(&site, Duration::from_secs(10)).unwrap())
}

#[tokio::test]
async fn an_issue_is_made_found_written_closed_and_opened() {
    let folder = tempfile::tempdir().unwrap();
    let (fake, client) = begin(&folder);
    let issue = client.create(&draft("SEC")).await.unwrap();
    assert_eq!(client.find("faultline-07").await.unwrap(), [], "search is behind");
    fake.advance(LAG);
    let found = client.find("faultline-07").await.unwrap();
    assert_eq!((found.len(), &found[0].issue, found[0].category), (1, &issue, Category::New));
    assert_eq!(found[0].property, Some(draft("SEC").property));

    let text = TicketText::of(&WantedTicket { what: "log4j-core".into(), ..wanted() }, Words::default());
    let edit = Edit { summary: Some(text.summary.clone()), description: Some(text.description.adf()), ..Edit::default() };
    client.edit(&issue.id, &edit).await.unwrap();
    assert_eq!(client.read(&issue.id).await.unwrap().summary, text.summary);

    assert_eq!(client.go_to(&issue.id, Target::Done, &Map::new()).await.unwrap(), Went::Moved);
    client.comment(&issue.id, &gone().adf()).await.unwrap();
    assert_eq!(client.go_to(&issue.id, Target::Done, &Map::new()).await.unwrap(), Went::Already);
    assert_eq!(client.read(&issue.id).await.unwrap().category, Category::Done);
    assert_eq!(client.go_to(&issue.id, Target::Open, &Map::new()).await.unwrap(), Went::Moved);
    let seen = fake.issue(&issue.id).unwrap();
    assert_eq!((seen.comments.len(), fake.issues().len()), (1, 1));
}

/// What was made and nobody heard of is found by its mark, and only once the search is not behind any more.
#[tokio::test]
async fn an_issue_whose_answer_was_lost_is_found_by_its_mark() {
    let folder = tempfile::tempdir().unwrap();
    let (fake, client) = begin(&folder);
    fake.inject(Fault::new(What::DropAfter).on("createIssue").first(1));
    let lost = client.create(&draft("SEC")).await.unwrap_err();
    assert!(matches!(lost, Trouble::Unknown { .. }), "{lost:?}");
    assert_eq!(client.find("faultline-07").await.unwrap(), []);
    fake.advance(LAG);
    assert_eq!(client.find("faultline-07").await.unwrap().len(), 1);

    fake.inject(Fault::new(What::DropBefore).on("createIssue").first(1));
    assert!(matches!(client.create(&draft("SEC")).await.unwrap_err(), Trouble::Unknown { .. }));
    fake.advance(LAG);
    assert_eq!(client.find("faultline-07").await.unwrap().len(), 1, "that one was never made");
}

/// A workflow without a way to done, one that asks for a resolution, and one without any.
#[tokio::test]
async fn each_workflow_is_closed_by_category_or_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let (fake, client) = begin(&folder);
    for (project, is_closed) in [("OPEN", false), ("ASK", true), ("NORES", true)] {
        let issue = client.create(&draft(project)).await.unwrap();
        let fields = json!({ "resolution": { "name": "Done" } }).as_object().unwrap().clone();
        let went = client.go_to(&issue.id, Target::Done, &fields).await.unwrap();
        assert_eq!(matches!(went, Went::Moved), is_closed, "{project}: {went:?}");
        assert_eq!(fake.status_category(&issue.id) == Some(faultline_fake_jira::Category::Done), is_closed, "{project}");
    }
}

/// 404 as Jira says it is an issue that is not there; the end of a token is the site's.
#[tokio::test]
async fn an_issue_that_went_and_a_token_that_ended_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (fake, client) = begin(&folder);
    let issue = client.create(&draft("SEC")).await.unwrap();
    fake.as_person().delete(&issue.id).unwrap();
    assert_eq!(client.read(&issue.id).await.unwrap_err(), Trouble::Gone);
    fake.set_token("another");
    let closed = client.read(&issue.id).await.unwrap_err();
    assert!(matches!(closed, Trouble::Closed { .. }), "{closed:?}");
    fake.down(true);
    assert!(matches!(client.create(&draft("SEC")).await.unwrap_err(), Trouble::Unknown { .. } | Trouble::NotSent { .. }));
}
