"""Reads what was sent to a collector, one request a line, by OpenTelemetry's own definition, and prints its spans as JSON.

The definition knows every field and its type, and what it does not know is an error. In OTLP's JSON ids are hexadecimal digits where Protobuf's
JSON has base64; digits are base64 too, so they pass and are turned back here.
"""

import base64
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def digits(identifier):
    return base64.b64encode(identifier).decode()


def value(any_value):
    kind = any_value.WhichOneof("value")
    return getattr(any_value, kind)


def attributes(holder):
    return {attribute.key: value(attribute.value) for attribute in holder.attributes}


for line in sys.stdin:
    request = json_format.Parse(line, ExportTraceServiceRequest(), ignore_unknown_fields=False)
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                print(json.dumps({
                    "resource": attributes(resource_spans.resource),
                    "scope": scope_spans.scope.name,
                    "trace": digits(span.trace_id),
                    "id": digits(span.span_id),
                    "parent": digits(span.parent_span_id),
                    "state": span.trace_state,
                    "links": [{"trace": digits(link.trace_id), "id": digits(link.span_id), "state": link.trace_state} for link in span.links],
                    "name": span.name,
                    "kind": span.kind,
                    "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano,
                    "attributes": attributes(span),
                    "status": span.status.code,
                    "message": span.status.message,
                }))
