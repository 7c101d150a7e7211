package dev.faultline.example;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;

/** Values on the wire: byte 0, the id of the schema in four bytes, big-endian, then the Avro body. The ids are those of ids.tsv. */
final class Wire {
    private static final int HEADER_BYTES = 5;

    /** The newest schema of each topic, by subject. */
    private final Map<String, Schema> newest = new HashMap<>();
    private final Map<String, Integer> newestId = new HashMap<>();
    /** Every schema that ever wrote a record. */
    private final Map<Integer, Schema> byId = new HashMap<>();

    Wire(Path schemas) throws IOException {
        List<String> lines = Files.readAllLines(schemas.resolve("ids.tsv"));
        for (String line : lines.subList(1, lines.size())) {
            String[] columns = line.split("\t"); // id, subject, version, file; versions of a subject in order
            int id = Integer.parseInt(columns[0]);
            Schema schema = new Schema.Parser().parse(Files.readString(schemas.resolve(columns[3])));
            byId.put(id, schema);
            newest.put(columns[1], schema);
            newestId.put(columns[1], id);
        }
    }

    byte[] encode(String topic, Map<String, Object> value) throws IOException {
        String subject = topic + "-value";
        Schema schema = newest.get(subject);
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.write(ByteBuffer.allocate(HEADER_BYTES).put((byte) 0).putInt(newestId.get(subject)).array());
        BinaryEncoder encoder = EncoderFactory.get().binaryEncoder(out, null);
        new GenericDatumWriter<>(schema).write(toAvro(schema, value), encoder);
        encoder.flush();
        return out.toByteArray();
    }

    /** Read with the schema that wrote it, into the shape of the one that this program knows. */
    GenericRecord decode(String topic, byte[] value) throws IOException {
        ByteBuffer header = ByteBuffer.wrap(value);
        int magic = header.get();
        int id = header.getInt();
        Schema writer = byId.get(id);
        if (magic != 0 || writer == null) {
            throw new IOException("a value of " + topic + " has the schema id " + id + ", which ids.tsv does not list");
        }
        var body = DecoderFactory.get().binaryDecoder(value, HEADER_BYTES, value.length - HEADER_BYTES, null);
        return new GenericDatumReader<GenericRecord>(writer, newest.get(topic + "-value")).read(null, body);
    }

    /** Maps, lists and plain values as a schema has them. A field that is left out has its default. */
    private static Object toAvro(Schema schema, Object value) {
        return switch (schema.getType()) {
            case UNION -> value == null ? null : toAvro(schema.getTypes().get(1), value); // all of them are [null, something]
            case ARRAY -> ((List<?>) value).stream().map(item -> toAvro(schema.getElementType(), item)).toList();
            case RECORD -> {
                Map<?, ?> fields = (Map<?, ?>) value;
                GenericData.Record record = new GenericData.Record(schema);
                for (Schema.Field field : schema.getFields()) {
                    Object given = fields.get(field.name());
                    record.put(field.pos(), given == null && field.hasDefaultValue()
                            ? GenericData.get().getDefaultValue(field)
                            : toAvro(field.schema(), given));
                }
                yield record;
            }
            default -> value;
        };
    }
}
