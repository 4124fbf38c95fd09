//! The one list of settings.
//!
//! A setting that is not here does not exist, and one that is here does something:
//! [`super::Config`] refuses to be built while an entry is not read. Flags, YAML keys,
//! environment names, `--help` and `/api/v1/status/flags` all come from this table.

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Flag without its dashes, and YAML key.
    pub name: &'static str,
    /// Other names of the same thing: Prometheus' own, where the meaning is equal.
    pub aliases: &'static [&'static str],
    /// As one would write it; empty where the default depends on the machine or on others.
    pub default: &'static str,
    /// What stands in `--help` for the value; empty for a switch.
    pub value: &'static str,
    /// What a refusal says was expected.
    pub expected: &'static str,
    /// What it does and what raising it costs.
    pub help: &'static str,
}

impl Setting {
    /// A switch may stand on the command line without a value.
    pub fn is_switch(&self) -> bool {
        self.value.is_empty()
    }

    /// The heading under which `--help` lists it: what stands before the first dot.
    pub fn group(&self) -> &'static str {
        self.name.split('.').next().unwrap_or(self.name)
    }
}

/// Sorted by name.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "at",
        aliases: &[],
        default: "",
        value: "TIME",
        expected: "a time such as 2006-01-02T15:04:05Z, or seconds since 1970, and --read-only",
        help: "Shows the bucket as it was then, with the retention of then. What has been merged or covered since \
               is collected a quarter of an hour later: of a bucket that is in use, earlier times cannot be \
               shown, and the start says what is missing. Default: as it is, and as it goes on",
    },
    Setting {
        name: "bucket.cut-interval",
        aliases: &[],
        default: "5m",
        value: "DURATION",
        expected: "a duration such as 5m",
        help: "What was written becomes blocks after this. Until then every replica holds it in memory and \
               in its folder; shorter makes more and smaller objects",
    },
    Setting {
        name: "bucket.flush-interval",
        aliases: &[],
        default: "500ms",
        value: "DURATION",
        expected: "a duration such as 500ms",
        help: "How long a write waits for company before it is sent to the bucket. Each flush is a PUT by \
               every replica that has anything to write",
    },
    Setting {
        name: "bucket.heartbeat-interval",
        aliases: &[],
        default: "10s",
        value: "DURATION",
        expected: "a duration such as 10s",
        help: "How often a replica says that it is there, and looks who else is: every third time while nothing \
               happens",
    },
    Setting {
        name: "bucket.refresh-interval",
        aliases: &[],
        default: "15s",
        value: "DURATION",
        expected: "a duration such as 15s, at most 3m",
        help: "How often the catalogue of blocks and deletions is read again: every second time while nothing \
               happens",
    },
    Setting {
        name: "bucket.sweep-interval",
        aliases: &[],
        default: "30s",
        value: "DURATION",
        expected: "a duration such as 30s, at most 7m",
        help: "How often the whole log in the bucket is listed: what no replica told of is found then",
    },
    Setting {
        name: "bucket.url",
        aliases: &[],
        default: "",
        value: "URL",
        expected: "s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX or file:///DIRECTORY",
        help: "Bucket that this and other replicas share; credentials, region and endpoint come from the \
               environment (AWS_*, GOOGLE_*, AZURE_*). --storage.path is then a cache that may be deleted. \
               Default: no bucket, one process on its own directory",
    },
    Setting {
        name: "enable-feature",
        aliases: &[],
        default: "",
        value: "NAMES",
        expected: "a comma-separated list of promql-experimental-functions, promql-delayed-name-removal",
        help: "Comma-separated list of features to switch on: promql-experimental-functions (functions \
               that Prometheus may still change), promql-delayed-name-removal (a metric name is dropped \
               at the end of a query, not by each function)",
    },
    Setting {
        name: "ha.cluster-label",
        aliases: &[],
        default: "cluster",
        value: "LABEL",
        expected: "the name of a label",
        help: "Label that the senders of an HA pair have in common. Of series that have it and \
               --ha.replica-label, one sender's samples are stored, and the others' acknowledged and dropped",
    },
    Setting {
        name: "ha.failover-after",
        aliases: &[],
        default: "30s",
        value: "DURATION",
        expected: "a duration above 0 such as 30s",
        help: "When nothing of the elected sender of an HA pair was stored for so long, the next one that \
               comes is elected. Longer than senders pause, and than four heartbeats on a bucket",
    },
    Setting {
        name: "ha.replica-label",
        aliases: &[],
        default: "__replica__",
        value: "LABEL",
        expected: "the name of a label other than __name__ and --ha.cluster-label; or nothing",
        help: "Label that tells the senders of an HA pair apart; it is taken off. Empty: there are no pairs",
    },
    Setting {
        name: "limits.file",
        aliases: &[],
        default: "",
        value: "FILE",
        expected: "a file",
        help: "YAML file of limits, by default and by tenant: active series, samples per second, labels, \
               clusters of HA pairs, query memory and range. Read again when it changes and on SIGHUP. Default: no limits",
    },
    Setting {
        name: "log.format",
        aliases: &[],
        default: "logfmt",
        value: "FORMAT",
        expected: "logfmt or json",
        help: "Form of log lines: logfmt or json",
    },
    Setting {
        name: "log.level",
        aliases: &[],
        default: "info",
        value: "LEVEL",
        expected: "error, warn, info, debug or trace",
        help: "Least severe log lines that are written: error, warn, info, debug or trace. debug writes a \
               line per request",
    },
    Setting {
        name: "memory.limit",
        aliases: &[],
        default: "",
        value: "BYTES",
        expected: "bytes, at least 64MiB, such as 512MiB, 4GiB or 4294967296",
        help: "Budget for everything that is held in memory: recent samples, requests, queries. Beyond it \
               writes are answered with 503 and queries are refused. Default: 80 % of the container's \
               limit (cgroup), or half of the machine's memory where there is none",
    },
    Setting {
        name: "query.log-slower-than",
        aliases: &[],
        default: "10s",
        value: "DURATION",
        expected: "a duration such as 10s; 0 logs every query",
        help: "Queries that took longer are logged with their text, and with the dashboard and panel where \
               Grafana names them",
    },
    Setting {
        name: "query.lookback-delta",
        aliases: &[],
        default: "5m",
        value: "DURATION",
        expected: "a duration above 0 such as 5m",
        help: "How far back a query looks for the newest sample of a series. Longer bridges slower scrapes \
               and keeps series alive for longer after they end without a staleness marker",
    },
    Setting {
        name: "query.max-concurrency",
        aliases: &[],
        default: "20",
        value: "COUNT",
        expected: "a whole number from 1 to 1024",
        help: "Queries evaluated at once, each on a thread of its own. More lets small queries pass big \
               ones and takes more memory at the peak",
    },
    Setting {
        name: "query.max-memory",
        aliases: &[],
        default: "",
        value: "BYTES",
        expected: "bytes above 0, such as 256MiB or 1GiB",
        help: "Memory that one query may hold; it is refused beyond. Default: a quarter of --memory.limit. \
               More lets one query take what others may need",
    },
    Setting {
        name: "query.max-queued",
        aliases: &[],
        default: "256",
        value: "COUNT",
        expected: "a whole number above 0",
        help: "Queries that wait for their turn; more are answered with 503. More lets clients wait longer \
               before they hear that they must",
    },
    Setting {
        name: "query.max-samples",
        aliases: &[],
        default: "50000000",
        value: "COUNT",
        expected: "a whole number above 0",
        help: "Samples that one query may hold in memory at once; it is refused beyond. A sample takes at \
               least 16 bytes",
    },
    Setting {
        name: "query.result-cache-size",
        aliases: &[],
        default: "",
        value: "BYTES",
        expected: "bytes such as 64MiB, or 0",
        help: "Memory for the steps of range queries that a dashboard, asked again over a window that has moved on, \
               takes instead of evaluating them; only those are taken that cannot have changed. 0 keeps none. \
               Default: a thirty-second of --memory.limit. More serves more panels",
    },
    Setting {
        name: "query.timeout",
        aliases: &[],
        default: "2m",
        value: "DURATION",
        expected: "a duration above 0 such as 2m",
        help: "Longest time that a query may take, waiting included; a request may ask for less. Longer \
               lets abandoned work go on for longer",
    },
    Setting {
        name: "read-only",
        aliases: &[],
        default: "false",
        value: "",
        expected: "true or false, and --bucket.url",
        help: "Answers queries from the bucket and writes nothing to it: no log, no heartbeat, no maintenance. \
               Writes and deletions are refused",
    },
    Setting {
        name: "remote-write.max-body-bytes",
        aliases: &[],
        default: "32MiB",
        value: "BYTES",
        expected: "bytes above 0, such as 32MiB",
        help: "Largest decompressed body of a remote-write request. Every request in flight may take about \
               three times as much memory",
    },
    Setting {
        name: "replica.advertise-address",
        aliases: &[],
        default: "",
        value: "HOST:PORT",
        expected: "an address such as 10.0.0.7:9595",
        help: "Where other replicas reach this one. Default: the name of the host and the port that is listened \
               on",
    },
    Setting {
        name: "replica.name",
        aliases: &[],
        default: "",
        value: "NAME",
        expected: "up to 128 letters, digits, '-', '_' and '.'",
        help: "Name of this replica, which no other may have. Default: the name of the host",
    },
    Setting {
        name: "retention",
        aliases: &[],
        default: "",
        value: "RULES",
        expected: "a list such as [{match: '{__name__=~\"debug_.*\"}', for: 3d}], of ages from 1h to 100y",
        help: "Series that are kept for less long than the rest: a YAML list of a selector (match), an age \
               (for) and perhaps a tenant. Of several that match, the shortest counts. What is too old is \
               hidden at once and erased by merges",
    },
    Setting {
        name: "shutdown.drain-delay",
        aliases: &[],
        default: "1s",
        value: "DURATION",
        expected: "a duration such as 0s or 5s",
        help: "After SIGTERM, how long requests are still taken while /-/ready answers 503, so that load \
               balancers look elsewhere. SIGINT and a second signal skip it",
    },
    Setting {
        name: "storage.epoch-max-age",
        aliases: &[],
        default: "20m",
        value: "DURATION",
        expected: "a duration of at least 1s such as 20m",
        help: "Samples stay in memory and in the log for at most this long before they become a part on \
               disk. Longer makes fewer, larger parts and longer restarts",
    },
    Setting {
        name: "storage.epoch-max-bytes",
        aliases: &[],
        default: "64MiB",
        value: "BYTES",
        expected: "bytes, at least 4KiB, such as 64MiB",
        help: "The same, by bytes of log: what a restart may have to replay",
    },
    Setting {
        name: "storage.local-cache-size",
        aliases: &[],
        default: "10GB",
        value: "BYTES",
        expected: "bytes such as 10GB; 0 keeps nothing",
        help: "With --bucket.url: how much of the bucket's blocks is kept in the folder, so that a question does \
               not wait for the bucket twice. What was used longest ago goes first",
    },
    Setting {
        name: "storage.local-retention",
        aliases: &[],
        default: "1d",
        value: "DURATION",
        expected: "a duration such as 0s, 2h or 1d",
        help: "With --bucket.url: blocks with samples younger than this are fetched before anybody asks, the \
               newest first, into at most half of --storage.local-cache-size; older ones when they are asked \
               for. Longer costs requests to the bucket: every replica fetches every block once",
    },
    Setting {
        name: "storage.log-file-bytes",
        aliases: &[],
        default: "64MiB",
        value: "BYTES",
        expected: "bytes, at least 4KiB, such as 64MiB",
        help: "Size at which a log file is closed and the next one begun. Every file repeats the labels of \
               the series in it",
    },
    Setting {
        name: "storage.merge-grace",
        aliases: &[],
        default: "10m",
        value: "DURATION",
        expected: "a duration such as 0s or 10m",
        help: "How long after the end of two hours, or of a day, their parts are merged. Longer waits for \
               samples that come late, which would be merged once more, and keeps more small parts",
    },
    Setting {
        name: "storage.path",
        aliases: &["storage.tsdb.path"],
        default: "./data",
        value: "DIRECTORY",
        expected: "a directory",
        help: "Directory of the data; created if it does not exist, locked while in use",
    },
    Setting {
        name: "storage.retention",
        aliases: &["storage.tsdb.retention.time"],
        default: "1y",
        value: "DURATION",
        expected: "a duration from 1h to 100y such as 15d or 1y",
        help: "How long samples are kept; older ones are refused and deleted, newer ones are accepted in \
               any order. Disk use grows with it",
    },
    Setting {
        name: "storage.retention.size",
        aliases: &["storage.tsdb.retention.size"],
        default: "0",
        value: "BYTES",
        expected: "bytes such as 500GB; 0 sets no limit",
        help: "Most bytes that parts and log may take together: beyond it the oldest parts are deleted, a \
               day at a time. Leave room on the disk for a merge of a day beside it. Not with --bucket.url",
    },
    Setting {
        name: "tenancy.enabled",
        aliases: &[],
        default: "false",
        value: "",
        expected: "true or false",
        help: "Keeps the data of tenants apart: each request names its tenant in X-Scope-OrgID, unless its \
               credential has exactly one. Without it a request that names a tenant is refused",
    },
    Setting {
        name: "web.config.file",
        aliases: &[],
        default: "",
        value: "FILE",
        expected: "a file",
        help: "YAML file of TLS certificates, users, tokens and their rights, in the shape of Prometheus' \
               web configuration. Read again when it changes and on SIGHUP. Default: no TLS, everybody may \
               do everything",
    },
    Setting {
        name: "web.cors.origin",
        aliases: &[],
        default: ".*",
        value: "REGEX",
        expected: "a regular expression such as https?://(a|b)\\.example\\.com",
        help: "Origins whose pages may read answers, as a fully anchored regular expression",
    },
    Setting {
        name: "web.enable-admin-api",
        aliases: &[],
        default: "false",
        value: "",
        expected: "true or false",
        help: "Serves /api/v1/admin/tsdb/delete_series, by which whoever reaches this server can delete data",
    },
    Setting {
        name: "web.enable-lifecycle",
        aliases: &[],
        default: "false",
        value: "",
        expected: "true or false",
        help: "Serves /-/quit, by which whoever reaches this server can end it",
    },
    Setting {
        name: "web.enable-remote-write-receiver",
        aliases: &[],
        default: "true",
        value: "",
        expected: "true: the receiver is what this server is for and cannot be switched off",
        help: "Accepted because Prometheus needs it; remote write is always on here",
    },
    Setting {
        name: "web.external-url",
        aliases: &[],
        default: "",
        value: "URL",
        expected: "an http:// or https:// URL without query and fragment",
        help: "URL under which this server is reached from outside, behind a proxy for instance: shown at \
               start and on the start page; its path is the default of --web.route-prefix",
    },
    Setting {
        name: "web.listen-address",
        aliases: &[],
        default: "0.0.0.0:9595",
        value: "ADDRESS",
        expected: "an address and a port such as 0.0.0.0:9595, [::]:9595 or :9595",
        help: "Address and port to listen on",
    },
    Setting {
        name: "web.max-connections",
        aliases: &[],
        default: "512",
        value: "COUNT",
        expected: "a whole number above 0",
        help: "Connections served at once; more wait in the kernel's queue. Each takes a file descriptor \
               and some tens of kilobytes",
    },
    Setting {
        name: "web.page-title",
        aliases: &[],
        default: "Onggi",
        value: "TEXT",
        expected: "a text",
        help: "Title of the start page",
    },
    Setting {
        name: "web.read-timeout",
        aliases: &[],
        default: "5m",
        value: "DURATION",
        expected: "a duration above 0 such as 5m",
        help: "Longest time to read a request, and to keep an idle connection. Longer lets slow or hanging \
               clients keep connections for longer",
    },
    Setting {
        name: "web.route-prefix",
        aliases: &[],
        default: "",
        value: "PATH",
        expected: "a path that begins with a slash, such as / or /metrics-store",
        help: "Path under which all routes are served. Default: the path of --web.external-url",
    },
];

/// The setting of this name or alias.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| s.name == name || s.aliases.contains(&name))
}

/// `ONGGI_STORAGE_PATH` for `storage.path`.
pub fn environment_name(name: &str) -> String {
    let mut text = String::from(ENVIRONMENT_PREFIX);
    text.extend(name.chars().map(|c| match c {
        '.' | '-' => '_',
        other => other.to_ascii_uppercase(),
    }));
    text
}

/// Every environment name that begins so must be a setting's.
pub const ENVIRONMENT_PREFIX: &str = "ONGGI_";

/// Names the YAML file; a flag or an environment variable, never a key of that file.
pub const CONFIG_FILE: &str = "config.file";
