//! `faultline topics plan|apply|verify`: what the topics of a cluster should be, and what they are.

use std::collections::BTreeMap;

use faultline_core::correlate::Correlate;
use faultline_core::stage::Stage;
use faultline_core::track::Track;
use faultline_stream::{
    Difference, Generation, HostError, KafkaOptions, MAX_RECORD_BYTES, Names, PlannedTopic, Registry, RegistryError, TopicPlan,
    apply_topics, compare_topics, degraded_topics, planned_topics,
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
type Acl = (&'static str, String, &'static str);

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
            table.row([role.to_owned(), kind.to_owned(), name, operations.to_owned()]);
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
    let topics = planned_topics(names, &plans(settings), &[Track::NAME, Correlate::NAME], settings.partitions, replicas, MAX_RECORD_BYTES);
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

/// The least that a role needs.
fn acls(role: Role, settings: &Settings) -> Vec<Acl> {
    let installation = settings.kafka.as_ref().map_or("faultline", |kafka| kafka.installation.as_str());
    let read = |topic: &str| ("topic", topic.to_owned(), "Describe, Read");
    let write = |topic: &str| ("topic", topic.to_owned(), "Describe, Write");
    let mut acls = vec![
        ("cluster", "kafka-cluster".to_owned(), "Describe"),
        ("group", format!("{installation}.*"), "Describe, Read"),
        // Which generation of the topics holds.
        read("generations"),
        // Their copies are in each process.
        read("catalog"),
        read("intel"),
    ];
    if settings.kafka.as_ref().is_none_or(|kafka| !kafka.is_at_least_once) {
        acls.push(("transactional id", format!("{installation}.*"), "Describe, Write"));
    }
    let stage = |name: &str, reads: &[&str], writes: &[&str]| {
        let changelog = format!("{name}.changelog");
        let mut acls = vec![("topic", changelog, "Describe, Read, Write")];
        acls.extend(reads.iter().map(|topic| read(topic)));
        acls.extend(writes.iter().map(|topic| write(topic)));
        acls
    };
    let mut of_role = match role {
        // It also sends back what was refused.
        Role::Gateway => {
            vec![
                read("outcomes"),
                read("dead-letters"),
                write("findings"),
                write("findings.bulk"),
                write("decisions"),
                write("catalog"),
                write("intel"),
            ]
        }
        Role::Views => vec![
            read("tracked"),
            read("risks"),
            read("outcomes"),
            read("dead-letters"),
            read("findings"),
            read("findings.bulk"),
            write("decisions"),
        ],
        // What lies in a wrong partition is written to the right one.
        Role::Track => stage(
            Track::NAME,
            &["findings", "findings.bulk", "decisions"],
            &["findings", "findings.bulk", "decisions", "tracked", "outcomes", "dead-letters"],
        ),
        Role::Correlate => stage(Correlate::NAME, &["tracked"], &["tracked", "risks", "dead-letters"]),
    };
    // The same in each generation: who changes the partition count changes no rights.
    let names = plans(settings).into_iter().filter(TopicPlan::has_generations).map(|plan| plan.name.to_owned());
    let named: Vec<String> = names.chain([Track::NAME, Correlate::NAME].map(|stage| format!("{stage}.changelog"))).collect();
    let later = |(kind, name, operations): &Acl| named.contains(name).then(|| (*kind, format!("{name}.g*"), *operations));
    of_role.extend(of_role.iter().filter_map(later).collect::<Vec<_>>());
    acls.extend(of_role);
    acls
}
