# SPDX-License-Identifier: Apache-2.0
# Copyright The headrace authors
"""What the tests of answers share: sequence numbers as plain arithmetic, and botocore's own parser."""

import botocore.loaders
import botocore.model
import botocore.parsers


def model_sequence(created_s, shard, index, arrival_s):
    return str(int(f"2{created_s:09x}{shard & 15:x}{index:016x}00{arrival_s:09x}{shard:08x}2", 16))


def parsed(service, operation, body):
    """The answer as botocore hands it to its caller."""
    model = botocore.model.ServiceModel(
        botocore.loaders.Loader().load_service_model(service, "service-2"), service
    )
    parser = botocore.parsers.create_parser(model.metadata["protocol"])
    shape = model.operation_model(operation).output_shape
    found = parser.parse({"body": body, "headers": {}, "status_code": 200}, shape)
    del found["ResponseMetadata"]
    return found
