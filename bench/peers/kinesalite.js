// SPDX-License-Identifier: Apache-2.0
// Copyright The headrace authors
//
// kinesalite.js: start kinesalite on a free port of loopback (its own command listens everywhere), in memory,
// without its artificial delays; print the port.
var kinesalite = require(process.argv[2])
var options = { createStreamMs: 0, deleteStreamMs: 0, updateStreamMs: 0, shardLimit: 1000 }
var server = kinesalite(options).listen(0, '127.0.0.1', function () {
  console.log('listening on port ' + server.address().port)
})
