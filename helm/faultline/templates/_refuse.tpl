{{/* What the schema cannot say: values that do not go together. */}}
{{- define "faultline.refuse" -}}
{{- $values := .Values -}}
{{- $workloads := include "faultline.workloads" . | fromJson -}}
{{- if eq $values.mode "embedded" -}}
{{- if gt (int $workloads.embedded.values.replicas) 1 -}}
{{- fail "mode embedded is one process with one log: embedded.replicas must be 1. To scale out, use mode kafka." -}}
{{- end -}}
{{- else -}}
{{- if not $values.kafka.bootstrap -}}
{{- fail "mode kafka needs kafka.bootstrap, the brokers as host:port with commas between" -}}
{{- end -}}
{{- if and (include "faultline.usesSasl" .) (not $values.kafka.sasl.existingSecret) -}}
{{- fail (printf "kafka.securityProtocol %s needs kafka.sasl.existingSecret, a Secret with name and password" $values.kafka.securityProtocol) -}}
{{- end -}}
{{- if ne (empty $values.kafka.tls.certificateKey) (empty $values.kafka.tls.privateKeyKey) -}}
{{- fail "kafka.tls.certificateKey and kafka.tls.privateKeyKey go together" -}}
{{- end -}}
{{- if and $values.kafka.tls.certificateKey (not $values.kafka.tls.existingSecret) -}}
{{- fail "kafka.tls.certificateKey is a key of the Secret kafka.tls.existingSecret, which is not named" -}}
{{- end -}}
{{- if not $workloads -}}
{{- fail "nothing would run: gateway and views are off, and stages is empty" -}}
{{- end -}}
{{- if and $workloads.gateway (not $values.hashing.existingSecret) -}}
{{- fail "mode kafka needs hashing.existingSecret: gateways with different keys would give one secret several findings" -}}
{{- end -}}
{{- if and $workloads.gateway $workloads.gateway.values.persistence.enabled -}}
{{- fail "the gateway keeps nothing: gateway.persistence.enabled must be false" -}}
{{- end -}}
{{- end -}}
{{- range $part, $workload := $workloads -}}
{{- $budget := $workload.values.memoryBudget -}}
{{- $limit := dig "limits" "memory" "" $workload.values.resources -}}
{{- $bytes := include "faultline.bytes" $budget -}}
{{- $most := include "faultline.bytes" $limit -}}
{{- if and $bytes $most (gt (mul 11 (int64 $bytes)) (mul 10 (int64 $most))) -}}
{{- fail (printf "%s: memoryBudget %s and a tenth are more than the memory limit %s, and the process would be killed: seven eighths of the limit fit" $part $budget (include "faultline.plain" $limit)) -}}
{{- end -}}
{{- if $workload.serves -}}
{{- if not $values.http.tls.existingSecret -}}
{{- fail "the API leaves loopback only with TLS: name a Secret with certificate and key in http.tls.existingSecret" -}}
{{- end -}}
{{- if not $values.http.token.existingSecret -}}
{{- fail "the API leaves loopback only with a token: name a Secret with it in http.token.existingSecret" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
