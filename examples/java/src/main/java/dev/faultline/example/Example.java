package dev.faultline.example;

import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.Future;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Publishes a scan with two findings to Faultline over Kafka, then waits for the risks that come of them. */
public final class Example {
    private static final String TOOL = "example-java";
    /** Between the two parts of a key. */
    private static final char SEPARATOR = '\u001f';

    private final Map<String, String> options;
    private final Wire wire;

    private Example(Map<String, String> options) throws Exception {
        this.options = options;
        this.wire = new Wire(Path.of(options.get("schemas")));
    }

    public static void main(String[] args) throws Exception {
        Map<String, String> options = new HashMap<>(Map.of(
                "bootstrap", "127.0.0.1:9092",
                "schemas", "../../schemas",
                "asset", "repo:github.com/acme/shop",
                "service", "",
                "wait", "60"));
        for (int i = 0; i < args.length; i += 2) {
            String name = args[i].replaceFirst("^--", "");
            if (!options.containsKey(name) || i + 1 == args.length) {
                System.err.println("usage: --bootstrap HOST:PORT --asset KIND:NAME --service ID --schemas FOLDER --wait SECONDS");
                System.exit(2);
            }
            options.put(name, args[i + 1]);
        }
        // What no rule of the catalog places is a service of its own.
        if (options.get("service").isEmpty()) {
            options.put("service", "unassigned/" + options.get("asset"));
        }
        Example example = new Example(options);
        Set<String> rules = example.publish();
        boolean allCame = example.awaitRisks(rules);
        System.exit(allCame ? 0 : 1);
    }

    // ---- findings ----

    /** Writes one whole scan; returns the rules whose findings it reported. */
    private Set<String> publish() throws Exception {
        // Any id that is unique. A retry of the same scan would use the same one, and then counts once.
        String scan = UUID.randomUUID().toString().replace("-", "");
        long started = System.currentTimeMillis();

        List<Map<String, Object>> records = new ArrayList<>();
        records.add(Map.of("kind", "scan_started", "scan_started", Map.ofEntries(
                Map.entry("scan", scan),
                Map.entry("tool", TOOL),
                Map.entry("tool_version", "1.0"),
                Map.entry("kind", "sast"),
                Map.entry("branch", "main"),
                Map.entry("is_default_branch", true),
                Map.entry("environment", ""),
                Map.entry("revision", "4f2a9c0d1e6b7f8890a1b2c3d4e5f60718293a4b"),
                Map.entry("started", started),
                // The whole repository was looked at: what this tool found before and does not find now is closed.
                Map.entry("scope", Map.of("is_full", true, "paths", List.of(), "rules", List.of())),
                Map.entry("service_claim", ""),
                Map.entry("tests_for", List.of()),
                Map.entry("publisher", "examples/java"))));
        List<Map<String, Object>> observations = List.of(
                observation("java/sql-injection", "SQL statement built from request input", "high", 89, "com.acme.Users.show", 42),
                observation("java/path-traversal", "File name from request input", "medium", 22, "com.acme.Files.read", 17));
        for (int number = 0; number < observations.size(); number++) {
            records.add(Map.of("kind", "finding", "finding",
                    Map.of("scan", scan, "number", number, "observation", observations.get(number))));
        }
        records.add(Map.of("kind", "scan_completed", "scan_completed",
                Map.of("scan", scan, "observations", observations.size(), "families", List.of(), "refused", 0)));

        // These are Java's defaults, written out: no duplicates, no change of order, and murmur2 of the key chooses the partition.
        Map<String, Object> config = Map.of(
                "bootstrap.servers", options.get("bootstrap"), "enable.idempotence", true, "acks", "all");
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new ByteArraySerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (Map<String, Object> record : records) {
                byte[] value = wire.encode("findings", record);
                // The asset is the key. The record's time is that of the fact: the scan's start.
                sent.add(producer.send(new ProducerRecord<>("findings", null, started, options.get("asset"), value)));
            }
            for (int i = 0; i < sent.size(); i++) {
                RecordMetadata at = sent.get(i).get(); // throws if it was not stored
                System.out.printf("sent %s: partition %d, offset %d%n", records.get(i).get("kind"), at.partition(), at.offset());
            }
        }
        Set<String> rules = new LinkedHashSet<>();
        observations.forEach(seen -> rules.add((String) seen.get("rule")));
        return rules;
    }

    /** What the tool says of one place. Rule, file and symbol say from scan to scan that it is the same finding; the line does not. */
    private static Map<String, Object> observation(String rule, String title, String severity, int cwe, String symbol, int line) {
        Map<String, Object> code = Map.of(
                "file", "src/main/java/" + symbol.substring(0, symbol.lastIndexOf('.')).replace('.', '/') + ".java",
                "line", line, "end_line", line, "column", 0, "symbol", symbol, "snippet", "", "parameter", "");
        return Map.ofEntries(
                Map.entry("rule", rule),
                Map.entry("title", title),
                Map.entry("description", ""),
                Map.entry("guidance", ""),
                Map.entry("severity", severity),
                Map.entry("cwes", List.of(cwe)),
                Map.entry("vulnerabilities", List.of()),
                Map.entry("cvss", List.of()),
                Map.entry("locus", Map.of("kind", "code", "code", code)),
                Map.entry("fixed_versions", List.of()),
                Map.entry("references", List.of()),
                Map.entry("rank", 0),
                Map.entry("tool_verdict", "reported"));
    }

    // ---- risks ----

    /** Reads the service's risks from the beginning until each rule's finding stands in one; false if the time is up before. */
    private boolean awaitRisks(Set<String> rules) throws Exception {
        Instant until = Instant.now().plusSeconds(Long.parseLong(options.get("wait")));
        Map<String, Object> config = Map.of("bootstrap.servers", options.get("bootstrap"), "isolation.level", "read_committed");
        try (var consumer = new KafkaConsumer<>(config, new StringDeserializer(), new ByteArrayDeserializer())) {
            // The topic is compacted: from its beginning it has every risk as it is now. All partitions, so no hash is needed here.
            List<TopicPartition> partitions =
                    consumer.partitionsFor("risks").stream().map(at -> new TopicPartition("risks", at.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            while (!rules.isEmpty() && Instant.now().isBefore(until)) {
                for (ConsumerRecord<String, byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    boolean isOfService = record.key().startsWith(options.get("service") + SEPARATOR);
                    if (isOfService && record.value() != null) { // without a value: the risk went
                        look(wire.decode("risks", record.value()), rules);
                    }
                }
            }
        }
        rules.forEach(rule -> System.err.printf("no risk of %s has a finding of %s yet%n", options.get("service"), rule));
        return rules.isEmpty();
    }

    /** Prints a risk that holds one of our open findings, and takes its rule off the list. */
    private void look(GenericRecord risk, Set<String> rules) {
        for (Object member : (List<?>) risk.get("findings")) {
            GenericRecord finding = (GenericRecord) member;
            boolean isOurs = text(finding, "tool").equals(TOOL) && text(finding, "asset").equals(options.get("asset"));
            if (isOurs && text(finding, "state").equals("open") && rules.remove(text(finding, "rule"))) {
                GenericRecord score = (GenericRecord) risk.get("score");
                System.out.printf("risk %s of %s: score %s (%s), %s%n",
                        risk.get("risk"), risk.get("service"), score.get("total"), score.get("band"), risk.get("title"));
                for (Object part : (List<?>) score.get("contributions")) {
                    GenericRecord line = (GenericRecord) part;
                    System.out.printf("  %+5d %s: %s%n", (int) line.get("points"), line.get("factor"), line.get("because"));
                }
            }
        }
    }

    /** Avro reads texts as its own Utf8, which equals no String. */
    private static String text(GenericRecord record, String field) {
        return record.get(field).toString();
    }
}
