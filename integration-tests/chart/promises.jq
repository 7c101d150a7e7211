# What must hold of every rendered chart. The input is the array of its objects; each promise that is broken gives one line.
def name: "\(.kind)/\(.metadata.name)";
def workloads: map(select(.kind == "Deployment" or .kind == "StatefulSet"));
def templates: map(select(.spec.template.spec.containers)); # and the job
def restricted:
  .allowPrivilegeEscalation == false and .readOnlyRootFilesystem and .runAsNonRoot and .capabilities.drop == ["ALL"] and
  .seccompProfile.type == "RuntimeDefault" and (has("privileged") or (.capabilities | has("add")) | not);
# Is every label of the first among those of the second?
def selects($labels): to_entries | all(.value == $labels[.key]);
def secret_files: [.volumes[] | select(.name == "secrets") | .projected.sources[].secret.items[].path | "/etc/faultline/secrets/" + .];
def env: [.containers[].env[]?];
def weight: .metadata.annotations["helm.sh/hook-weight"] // "1000" | tonumber;
def hook: .metadata.annotations["helm.sh/hook"];

. as $all |
(
  # Security
  (templates[] | select(.spec.template.spec | (.securityContext | .runAsNonRoot and .seccompProfile.type == "RuntimeDefault") and
    (.containers | all(.securityContext | restricted)) | not) | "\(name) is not restricted"),
  (templates[] | select(.spec.template.spec.securityContext | (.runAsUser // 10000) < 10000 or (.runAsGroup // 10000) < 10000) | "\(name) runs as a low user"),
  (templates[] | select(.spec.template.spec | .automountServiceAccountToken != false or .hostNetwork or .hostPID or .hostIPC) | "\(name) is given more than it needs"),
  (.[] | select(.kind == "Secret" or (.kind | test("Role"))) | "\(name) has no place in the chart"),
  (templates[] | . as $it | .spec.template.spec | env[] | select(.value and (.name | test("PASSWORD|TOKEN|SECRET|__KEY")) and (.name | test("__FILE$|TLS_KEY$") | not)) |
    "\($it | name) has a secret in the environment: \(.name)"),
  # Files: what the program is told to read is there
  (templates[] | . as $it | .spec.template.spec | secret_files as $files | env[] | select(.value and (.value | startswith("/etc/faultline/secrets/")) and (.value | IN($files[]) | not)) |
    "\($it | name) has no file \(.value)"),
  (templates[] | . as $it | (.spec.template.spec | secret_files) as $files | (.spec.template.spec.volumes[] | select(.name == "config").configMap.name) as $map |
    [$all[] | select(.kind == "ConfigMap" and .metadata.name == $map)] |
    if length != 1 then "\($it | name) has no ConfigMap \($map)"
    else .[0].data["faultline.yaml"] | scan("/etc/faultline/secrets/[a-z.-]+") | select(IN($files[]) | not) | "\($it | name) has no file \(.), which its configuration names" end),
  (templates[] | . as $it | .spec.template.spec.containers[] | (.volumeMounts | map(.name) | unique) - [$it.spec.template.spec.volumes[].name, ($it.spec.volumeClaimTemplates // [] | .[].metadata.name)] |
    .[] | "\($it | name) mounts \(.), which is no volume"),
  # Names
  (group_by([.apiVersion, name])[] | select(length > 1) | "\(.[0] | name) is there \(length) times"),
  (.[] | select((.kind == "StatefulSet" and (.metadata.name | length) > 52) or (.metadata.name | length) > 63) | "\(name) is too long a name"),
  (.[] | .metadata.labels // {} | to_entries[] | select((.value | type) != "string" or (.value | length) > 63) | "label \(.key) is \(.value)"),
  (.[] | select((.metadata.labels["app.kubernetes.io/instance"] // "shop") != "shop") | "\(name) is labelled as another release's"),
  # Selectors
  (workloads[] | select(.spec.template.metadata.labels as $labels | .spec.selector.matchLabels | selects($labels) | not) | "\(name) does not select its pods"),
  (workloads[] | select(.spec.selector.matchLabels | has("app.kubernetes.io/version") or has("helm.sh/chart")) | "\(name) selects by what an upgrade changes"),
  (map(select(.kind == "Service"))[] | . as $service | [$all | workloads[].spec.template.metadata.labels | . as $labels | select($service.spec.selector | selects($labels))] |
    select(length == 0) | "\($service | name) selects no pods"),
  (map(select(.kind == "Service"))[] | . as $service | $all | map(select(.kind == "Job"))[] | .spec.template.metadata.labels as $labels |
    select($service.spec.selector | selects($labels)) | "\($service | name) selects the pods of \(name)"),
  (workloads[] | select(.kind == "StatefulSet" and (.spec.serviceName | IN($all[] | select(.kind == "Service" and .spec.clusterIP == "None").metadata.name) | not)) |
    "\(name) has no headless service"),
  (templates[] | select(.spec.template.spec.serviceAccountName | IN("faultline", ($all[] | select(.kind == "ServiceAccount").metadata.name)) | not) | "\(name) has no account"),
  # Life
  (workloads[] | . as $it | [$all[] | select(.kind == "PodDisruptionBudget") | select(.spec.selector.matchLabels == $it.spec.selector.matchLabels)] | length |
    select(. != if $it.spec.replicas > 1 then 1 else 0 end) | "\($it | name) of \($it.spec.replicas) replicas has \(.) disruption budgets"),
  (workloads[] | select(.spec.template.spec.containers[0] | (.livenessProbe.httpGet.path == "/healthz" and .startupProbe.httpGet.path == "/healthz" and .readinessProbe.httpGet.path == "/readyz") | not) |
    "\(name) lacks a probe"),
  (workloads[] | select((.spec.template.metadata.annotations["checksum/config"] // "" | length) != 64) | "\(name) would not notice a changed configuration"),
  (templates[] | select(.spec.template.spec.containers[0].resources | .requests.memory and .limits.memory | not) | "\(name) has no bounds of memory"),
  (workloads[] | select(.spec.template.spec.containers[0] | (.args[0] == "run") and (any(.env[]; .name == "FAULTLINE__KAFKA__INSTANCE" and .valueFrom.fieldRef.fieldPath == "metadata.name") | not)) |
    "\(name) has no membership by its pod's name"),
  # Hooks: what the job needs is there before it
  (map(select(.kind == "Job"))[] | . as $job | .spec.template.spec as $pod |
    ({kind: "ServiceAccount", name: $pod.serviceAccountName}, ($pod.volumes[].configMap | select(.) | {kind: "ConfigMap", name})) | . as $need |
    [$all[] | select(.kind == $need.kind and .metadata.name == $need.name and hook == ($job | hook) and weight < ($job | weight))] |
    select(length != 1) | "\($need.kind)/\($need.name) is not there when \($job | name) runs"),
  # and whatever network policy is there lets it out
  (select(any(.[]; .kind == "NetworkPolicy")) | map(select(.kind == "Job"))[] | . as $job |
    [$all[] | select(.kind == "NetworkPolicy" and weight < ($job | weight)) | select(.spec.podSelector.matchLabels | selects($job.spec.template.metadata.labels))] |
    select(length != 1) | "\($job | name) has no network policy of its own")
)
