import java.io.*;
import java.util.*;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.acl.*;
import org.apache.kafka.common.resource.*;

/** Lets a user do what the lines of standard input say: kind, name (a prefix where it ends in `*`) and operations, tabs between. */
class KafkaAllow {
  public static void main(String[] args) throws Exception {
    List<AclBinding> allowed = new ArrayList<>();
    for (String line : new BufferedReader(new InputStreamReader(System.in)).lines().toList()) {
      String[] parts = line.split("\t");
      boolean isPrefix = parts[1].endsWith("*");
      String name = isPrefix ? parts[1].substring(0, parts[1].length() - 1) : parts[1];
      ResourceType kind = ResourceType.valueOf(parts[0].toUpperCase().replace(' ', '_'));
      ResourcePattern resource = new ResourcePattern(kind, name, isPrefix ? PatternType.PREFIXED : PatternType.LITERAL);
      for (String operation : parts[2].split(", *")) {
        AclOperation may = AclOperation.valueOf(operation.replaceAll("(?<=[a-z])(?=[A-Z])", "_").toUpperCase());
        allowed.add(new AclBinding(resource, new AccessControlEntry("User:" + args[1], "*", may, AclPermissionType.ALLOW)));
      }
    }
    try (Admin admin = Admin.create(Map.of("bootstrap.servers", args[0]))) {
      admin.createAcls(allowed).all().get();
    }
  }
}
