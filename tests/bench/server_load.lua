-- Copyright (c) 2026, macfleet.parallels contributors
-- GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
-- SPDX-License-Identifier: GPL-3.0-or-later

-- For wrk: one GET after the other of the paths in a file, and the figures as JSON. The credential comes by the
-- environment, so that it is in no list of processes.

local requests, place = {}, 0

function init(_arguments)
  wrk.headers[os.getenv("MACFLEET_BENCH_HEADER")] = os.getenv("MACFLEET_BENCH_CREDENTIAL")
  for path in io.lines(os.getenv("MACFLEET_BENCH_PATHS")) do
    requests[#requests + 1] = wrk.format("GET", path)
  end
end

function request()
  place = place % #requests + 1
  return requests[place]
end

function done(summary, latency, _requests)
  local errors = summary.errors
  -- Durations and latencies are in microseconds.
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, "failed": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency.max / 1e3, errors.connect + errors.read + errors.write + errors.status + errors.timeout
  ))
end
