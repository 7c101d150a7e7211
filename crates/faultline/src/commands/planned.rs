//! `faultline topics plan|apply|verify`: what the topics of a cluster should be, and what they are.

use std::collections::BTreeMap;

use faultline_core::act::Act;
use faultline_core::audit::Audit;
use faultline_core::correlate::Correlate;
use faultline_core::notify::Notify;
use faultline_core::stage::Stage;
use faultline_core::track::Track;
use faultline_stream::{
    Difference, Generation, HostError, KafkaOptions, MAX_RECORD_BYTES, Names, PlannedTopic, Registry, RegistryError, apply_topics,
    compare_topics, degraded_topics, planned_topics,
};
use serde_json::{Value, json};

use crate::cli::Common;
use crate::client::settings;
use crate::commands::{confirmed, note, print_json, print_line, print_text};
use crate::failure::{Exit, Failure};
use crate::service::{Role, guarantee, kafka_options, plans};
use crate::settings::Settings;
use crate::show::{Table, counted};

/// Who may do what, for a role: a kind of resource, its name (a prefix where it ends in `*`), and the operations.
type Acl = (&'static str, String, String);

/// What these commands are called among the clients of a cluster.
const INSTANCE: &str = "topics";

pub fn plan(common: &Common) -> Result<Exit, Failure> {
    let settings = settings(common)?;
    let topics = planned_as(&settings, &Names::default());
    let acls: BTreeMap<&str, Vec<Acl>> = Role::ALL.iter().map(|role| (role.name(), acls(*role, &settings))).collect();
    if common.json {
        let acl = |(kind, name, operations): &Acl| json!({ "resource": kind, "name": name, "operations": operations });
        let acls: BTreeMap<&str, Vec<Value>> = acls.iter().map(|(role, all)| (*role, all.iter().map(acl).collect())).collect();
        let topic = |topic: &PlannedTopic| json!({ "name": topic.name, "partitions": topic.partitions, "replicas": topic.replicas, "settings": topic.settings });
        print_json(&json!({ "topics": topics.iter().map(topic).collect::<Vec<_>>(), "acls": acls }));
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["topic", "partitions", "replicas", "settings"]);
    for topic in &topics {
        let settings: Vec<String> = topic.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        table.row([topic.name.clone(), topic.partitions.to_string(), topic.replicas.to_string(), settings.join(" ")]);
    }
    print_text(&table.to_string());
    print_line("");
    let mut table = Table::new(&["role", "resource", "name", "operations"]);
    for (role, acls) in acls {
        for (kind, name, operations) in acls {
            table.row([role.to_owned(), kind.to_owned(), name, operations]);
        }
    }
    print_text(&table.to_string());
    note(
        common,
        "names of the first generation: `topics repartition` makes others, such as risks.g2, and `topics verify` knows which hold",
    );
    Ok(Exit::Done)
}

pub fn apply(common: &Common, yes: bool, dry_run: bool) -> Result<Exit, Failure> {
    let settings = settings(common)?;
    let options = for_administration(&settings, INSTANCE)?;
    let topics = planned(&settings, &options)?;
    let before = compare_topics(&options, &topics).map_err(of_cluster)?;
    tell(common, &before, dry_run);
    let is_applied = before.values().flatten().any(Difference::is_applied);
    if !is_applied && !dry_run {
        prepare(common, &options)?;
    }
    if dry_run || !is_applied {
        return Ok(judged(&before, dry_run));
    }
    if !yes && !confirmed("apply this?") {
        return Err(Failure::new(Exit::WrongUse, "nothing was changed", "say --yes to apply it without being asked"));
    }
    apply_topics(&options, &topics).map_err(of_cluster)?;
    prepare(common, &options)?;
    let after = compare_topics(&options, &topics).map_err(of_cluster)?;
    if !common.json {
        let changed = before.iter().filter(|(_, all)| all.iter().any(Difference::is_applied)).count() as u64;
        note(common, &format!("{} made or changed", counted(changed, "topic was", "topics were")));
        tell(common, &after, false);
    }
    Ok(judged(&after, false))
}

pub fn verify(common: &Common) -> Result<Exit, Failure> {
    let settings = settings(common)?;
    let options = for_administration(&settings, INSTANCE)?;
    let differences = compare_topics(&options, &planned(&settings, &options)?).map_err(of_cluster)?;
    let of_registry = match &options.registry {
        Some(registry) => Registry::new(registry).and_then(|registry| registry.verify()).map_err(|error| of_registry(&error))?,
        None => Vec::new(),
    };
    tell(common, &differences, of_registry.is_empty());
    for difference in &of_registry {
        // Beside the topics' answer, which is one JSON text.
        note(common, &difference.to_string());
    }
    Ok(if of_registry.is_empty() { judged(&differences, false) } else { Exit::Refused })
}

/// Schemas are registered where there is a registry; it refuses what does not fit those that it has.
fn prepare(common: &Common, options: &KafkaOptions) -> Result<(), Failure> {
    let Some(registry) = &options.registry else { return Ok(()) };
    Registry::new(registry).and_then(|registry| registry.prepare()).map_err(|error| of_registry(&error))?;
    note(common, "the schema registry has all schemas");
    Ok(())
}

fn of_registry(error: &RegistryError) -> Failure {
    Failure::of(Exit::NotReachable, error, "kafka.registry.* say how the schema registry is reached")
}

fn judged(differences: &BTreeMap<String, Vec<Difference>>, is_plan: bool) -> Exit {
    if !is_plan && differences.values().flatten().any(Difference::is_fatal) { Exit::Refused } else { Exit::Done }
}

fn tell(common: &Common, differences: &BTreeMap<String, Vec<Difference>>, says_all_is_well: bool) {
    if common.json {
        let one = |difference: &Difference| json!({ "what": difference.to_string(), "fatal": difference.is_fatal(), "applied": difference.is_applied() });
        let all: BTreeMap<&String, Vec<Value>> = differences.iter().map(|(topic, all)| (topic, all.iter().map(one).collect())).collect();
        return print_json(&json!(all));
    }
    for (topic, all) in differences {
        for difference in all {
            let left = match difference {
                Difference::Partitions { .. } => {
                    " (not changed by apply: keys would lie in wrong partitions; see `faultline topics repartition`)"
                }
                Difference::Replicas { .. } => " (not changed by apply: reassign with Kafka's own tools)",
                _ => "",
            };
            print_line(&format!("{topic} {difference}{left}"));
        }
    }
    if differences.is_empty() && says_all_is_well {
        print_line("the topics are as planned");
    }
}

/// The topics as the generation that holds in the cluster calls them.
pub fn planned(settings: &Settings, options: &KafkaOptions) -> Result<Vec<PlannedTopic>, Failure> {
    let holds = Generation::of_cluster(options).map_err(of_cluster)?;
    Ok(planned_as(settings, &holds.names(&plans(settings))))
}

fn planned_as(settings: &Settings, names: &Names) -> Vec<PlannedTopic> {
    // Without a cluster the plan is for the usual one.
    let replicas = settings.kafka.as_ref().map_or(3, |kafka| kafka.replicas);
    let topics = planned_topics(
        names,
        &plans(settings),
        &[Track::NAME, Correlate::NAME, Act::NAME, Audit::NAME, Notify::NAME],
        settings.partitions,
        replicas,
        MAX_RECORD_BYTES,
    );
    match &settings.kafka {
        Some(kafka) => degraded_topics(topics, guarantee(kafka), kafka.has_compaction),
        None => topics,
    }
}

pub fn for_administration(settings: &Settings, instance: &str) -> Result<KafkaOptions, Failure> {
    if settings.kafka.as_ref().is_some_and(|kafka| kafka.token_file.is_some()) {
        let what = "topics cannot be made or compared with kafka.oauth.token_file: the client's administration takes no such token";
        return Err(Failure::new(Exit::WrongUse, what, "use a user with SCRAM, or a certificate, for this command (kafka.client.*)"));
    }
    options(settings, instance)
}

pub fn options(settings: &Settings, instance: &str) -> Result<KafkaOptions, Failure> {
    let kafka = settings.kafka.as_ref().ok_or_else(|| {
        Failure::new(
            Exit::WrongUse,
            "kafka.bootstrap is empty: embedded there are no topics to make",
            "set it (FAULTLINE__KAFKA__BOOTSTRAP)",
        )
    })?;
    let options = kafka_options(settings, kafka, instance.to_owned());
    options.check().map_err(of_cluster)?;
    Ok(options)
}

pub fn of_cluster(error: HostError) -> Failure {
    Failure::of(Exit::NotReachable, &error, "kafka.bootstrap and kafka.client.* say how the cluster is reached")
}

/// Topics that a role reads and writes, and the stage whose changelog is its own.
struct Uses {
    reads: &'static [&'static str],
    writes: &'static [&'static str],
    stage: Option<&'static str>,
}

impl Uses {
    fn of(role: Role) -> Self {
        match role {
            // It also sends back what was refused.
            Role::Gateway => Self {
                reads: &["outcomes", "dead-letters", "access", "audit"],
                writes: &["findings", "findings.bulk", "decisions", "steps", "catalog", "intel", "access", "acts"],
                stage: None,
            },
            Role::Views => Self {
                reads: &[
                    "tracked",
                    "risks",
                    "risk-registry",
                    "notices",
                    "deliveries",
                    "outcomes",
                    "dead-letters",
                    "findings",
                    "findings.bulk",
                    "access",
                    "audit",
                ],
                writes: &["decisions", "steps", "acts"],
                stage: None,
            },
            // What lies in a wrong partition is written to the right one.
            Role::Track => Self {
                reads: &["findings", "findings.bulk", "decisions"],
                writes: &["findings", "findings.bulk", "decisions", "tracked", "outcomes", "judged", "dead-letters"],
                stage: Some(Track::NAME),
            },
            Role::Audit => {
                Self { reads: &["judged", "acts"], writes: &["judged", "acts", "audit", "dead-letters"], stage: Some(Audit::NAME) }
            }
            Role::Correlate => {
                Self { reads: &["tracked"], writes: &["tracked", "risks", "shares", "dead-letters"], stage: Some(Correlate::NAME) }
            }
            Role::Notify => Self {
                reads: &["risks", "risk-registry", "deliveries"],
                writes: &["risks", "risk-registry", "notices", "deliveries", "dead-letters"],
                stage: Some(Notify::NAME),
            },
            Role::Act => Self {
                reads: &["steps", "shares"],
                writes: &["steps", "shares", "exceptions", "risk-registry", "tickets.desired", "outcomes", "judged", "dead-letters"],
                stage: Some(Act::NAME),
            },
        }
    }
}

/// The least that a role needs.
fn acls(role: Role, settings: &Settings) -> Vec<Acl> {
    let installation = settings.kafka.as_ref().map_or("faultline", |kafka| kafka.installation.as_str());
    let mut acls = vec![
        ("cluster", "kafka-cluster".to_owned(), "Describe".to_owned()),
        ("group", format!("{installation}.*"), "Describe, Read".to_owned()),
    ];
    if settings.kafka.as_ref().is_none_or(|kafka| !kafka.is_at_least_once) {
        acls.push(("transactional id", format!("{installation}.*"), "Describe, Write".to_owned()));
    }
    let Uses { reads, writes, stage } = Uses::of(role);
    let changelog = stage.map(|stage| format!("{stage}.changelog"));
    let plans = plans(settings);
    let names = plans.iter().map(|plan| plan.name.to_owned()).chain(["generations".to_owned()]).chain(changelog.clone());
    for name in names {
        let is_changelog = changelog.as_ref() == Some(&name);
        // Which generation of the topics holds, and what each process has copies of.
        let is_read =
            is_changelog || ["generations", "catalog", "intel", "exceptions"].contains(&name.as_str()) || reads.contains(&name.as_str());
        let is_written = is_changelog || writes.contains(&name.as_str());
        // A process looks at all topics before it begins.
        let operations = [("Describe, DescribeConfigs", true), ("Read", is_read), ("Write", is_written)];
        let operations = operations.iter().filter(|(_, may)| *may).map(|(operation, _)| *operation).collect::<Vec<_>>().join(", ");
        // The same in each generation: who changes the partition count changes no rights.
        let has_generations = is_changelog || plans.iter().any(|plan| plan.name == name && plan.has_generations());
        let later = has_generations.then(|| ("topic", format!("{name}.g*"), operations.clone()));
        acls.push(("topic", name, operations));
        acls.extend(later);
    }
    acls
}
