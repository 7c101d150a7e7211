import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Where the records of a topic stand, and where Kafka's default partitioner would put them: `Partitions.java BOOTSTRAP TOPIC`.
 * One line a record: its partition, the one that its key's first part chooses, the key.
 */
public final class Partitions {
    public static void main(String[] args) {
        String topic = args[1];
        Map<String, Object> config = Map.of("bootstrap.servers", args[0], "isolation.level", "read_committed");
        try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            List<TopicPartition> partitions =
                    consumer.partitionsFor(topic).stream().map(at -> new TopicPartition(topic, at.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(at -> consumer.position(at) < ends.get(at))) {
                for (var record : consumer.poll(Duration.ofMillis(200))) {
                    String key = new String(record.key(), StandardCharsets.UTF_8);
                    String first = key.split("\u001f", 2)[0];
                    int chosen = BuiltInPartitioner.partitionForKey(first.getBytes(StandardCharsets.UTF_8), partitions.size());
                    System.out.println(record.partition() + "\t" + chosen + "\t" + key);
                }
            }
        }
    }
}
