//! Who is there: nodes, and pods with what Kubernetes calls them.
//!
//! Everything follows from the seed and the numbers of node, pod and generation.

use crate::support::random::mix;

pub const NAMESPACES: [&str; 8] =
    ["checkout", "catalog", "identity", "payments", "search", "platform", "monitoring", "data"];
const APPS: [&str; 20] = [
    "cart-api",
    "order-worker",
    "gateway",
    "web-frontend",
    "auth-service",
    "user-profile",
    "ledger",
    "invoice-api",
    "fraud-scorer",
    "catalog-api",
    "recommender",
    "search-api",
    "indexer",
    "mailer",
    "notifier",
    "scheduler",
    "metrics-proxy",
    "event-bus",
    "report-builder",
    "session-store",
];

/// What tells one pod from another, and from the one whose place it took.
pub struct Pod {
    pub number: usize,
    pub node: usize,
    /// How many pods had its place before.
    pub generation: u64,
    pub namespace: &'static str,
    pub app: &'static str,
    pub name: String,
    pub address: String,
    pub uid: String,
    pub container_id: String,
}

impl Pod {
    pub fn new(seed: u64, node: usize, number: usize, generation: u64) -> Self {
        let app = (identity(&[seed, 1, number as u64]) % APPS.len() as u64) as usize;
        let own = |what: u64| identity(&[seed, 2, number as u64, generation, what]);
        let [a, b, c, d] = [3, 4, 5, 6].map(own);
        let replica_set = letters(identity(&[seed, 7, app as u64]), 10);
        Self {
            number,
            node,
            generation,
            namespace: NAMESPACES[app % NAMESPACES.len()],
            app: APPS[app],
            name: format!("{}-{replica_set}-{}", APPS[app], letters(a, 5)),
            address: format!("100.{}.{}.{}", 64 + b % 60, (b >> 8) % 256, (b >> 16) % 254 + 1),
            uid: format!(
                "{:08x}-{:04x}-4{:03x}-9{:03x}-{:012x}",
                c >> 32,
                c & 0xffff,
                (c >> 16) & 0xfff,
                d & 0xfff,
                d >> 16
            ),
            container_id: format!("{a:016x}{b:016x}{c:016x}{d:016x}"),
        }
    }
}

/// The name of a node, as a cloud gives it.
pub fn node(number: usize) -> String {
    let [a, b, c] = address_of(number);
    format!("ip-10-{a}-{b}-{c}.eu-central-1.compute.internal")
}

pub fn node_address(number: usize) -> String {
    let [a, b, c] = address_of(number);
    format!("10.{a}.{b}.{c}")
}

fn address_of(node: usize) -> [usize; 3] {
    [node / 62_500, node / 250 % 250, node % 250 + 4]
}

/// A number that belongs to these numbers, in this order.
pub fn identity(parts: &[u64]) -> u64 {
    parts
        .iter()
        .fold(0x6f6e_6767_6921, |so_far, part| mix(so_far ^ mix(part.wrapping_add(0x9e37_79b9_7f4a_7c15))))
}

/// The letters and digits that Kubernetes makes names of.
fn letters(mut number: u64, count: usize) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut text = String::new();
    for _ in 0..count {
        text.push(char::from(ALPHABET[(number % 27) as usize]));
        number /= 27;
    }
    text
}
