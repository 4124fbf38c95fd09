//! The label index: every label of an active series once, with the series that have it.
//!
//! A *pair* is a tenant's label of one name and one value: its text stands here once, its number
//! stands in the series, and its postings say how often it is used: with the last series the pair
//! goes, and a name with its last pair. Owns texts and postings; which series there are is the
//! registry's, how questions are answered is [`super::matching`]'s and [`super::cardinality`]'s.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::keys::Keys;
use super::postings::Postings;
use super::slab::Slab;
use super::tags::TagTable;
use crate::model::TenantId;

/// Numbers of this process, used again when what they stood for is gone.
pub type TenantNumber = u32;
pub type NameNumber = u32;
pub type PairNumber = u32;

/// Bytes that a pair is reckoned to cost beside its text, counted once: struct, tree, table.
const PAIR_OVERHEAD_BYTES: u64 = 120;

pub struct Tenant {
    pub id: TenantId,
    pub names: BTreeMap<Arc<str>, NameNumber>,
    pub all: Postings,
}

pub struct Name {
    text: Arc<str>,
    tenant: TenantNumber,
    /// In order, for prefixes and for answers; by value the table is faster.
    pub values: BTreeMap<Arc<str>, PairNumber>,
}

pub struct Pair {
    pub name: NameNumber,
    pub value: Arc<str>,
    pub series: Postings,
}

/// See the module.
pub struct LabelIndex {
    keys: Keys,
    numbers: HashMap<TenantId, TenantNumber>,
    tenants: Slab<Tenant>,
    names: Slab<Name>,
    pairs: Slab<Pair>,
    by_text: TagTable,
    bytes: u64,
}

impl LabelIndex {
    pub fn new(keys: Keys) -> Self {
        Self {
            keys,
            numbers: HashMap::new(),
            tenants: Slab::default(),
            names: Slab::default(),
            pairs: Slab::default(),
            by_text: TagTable::default(),
            bytes: 0,
        }
    }

    /// Estimated heap of texts and pairs; what a series adds by being in them is not in it.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn tenant_number(&self, tenant: &TenantId) -> Option<TenantNumber> {
        self.numbers.get(tenant).copied()
    }

    pub fn tenant(&self, number: TenantNumber) -> &Tenant {
        &self.tenants[number]
    }

    pub fn tenants(&self) -> impl Iterator<Item = (TenantNumber, &Tenant)> {
        self.numbers.values().map(|number| (*number, &self.tenants[*number]))
    }

    pub fn name(&self, number: NameNumber) -> &Name {
        &self.names[number]
    }

    pub fn pair(&self, number: PairNumber) -> &Pair {
        &self.pairs[number]
    }

    /// All pair numbers are below this.
    pub fn pair_numbers_end(&self) -> u32 {
        self.pairs.numbers_end()
    }

    /// A pair's label.
    pub fn label(&self, pair: PairNumber) -> (&str, &str) {
        let pair = &self.pairs[pair];
        (&self.names[pair.name].text, &pair.value)
    }

    /// Bytes of the texts of a pair's label.
    pub fn label_bytes(&self, pair: PairNumber) -> usize {
        let pair = &self.pairs[pair];
        self.names[pair.name].text.len() + pair.value.len()
    }

    /// The pair of a label, if a series has it.
    pub fn find(
        &self,
        tenant: TenantNumber,
        name: &[u8],
        value: &[u8],
        near: &mut Neighbour<'_>,
    ) -> Option<PairNumber> {
        match near.known(self, name, value) {
            Known::Pair(pair) => Some(pair),
            Known::Name(name) => self.find_value(name, value),
            Known::Nothing => {
                // What was not judged yet may be no text: then no series has it.
                let name = std::str::from_utf8(name).ok()?;
                self.find_value(*self.tenants[tenant].names.get(name)?, value)
            }
        }
    }

    /// The pair of a name and a value, if a series has it.
    pub fn find_value(&self, name: NameNumber, value: &[u8]) -> Option<PairNumber> {
        self.by_text.find(self.keys.pair(name, value), |pair| {
            let pair = &self.pairs[pair];
            pair.name == name && pair.value.as_bytes() == value
        })
    }

    /// The number of a tenant; it must get a series.
    pub fn add_tenant(&mut self, tenant: &TenantId) -> TenantNumber {
        if let Some(number) = self.numbers.get(tenant) {
            return *number;
        }
        let id = tenant.clone();
        let number = self.tenants.insert(Tenant { id, names: BTreeMap::new(), all: Postings::default() });
        self.numbers.insert(tenant.clone(), number);
        number
    }

    /// The pair of a label, which may be new; it must get a series.
    pub fn add(
        &mut self,
        tenant: TenantNumber,
        name: &[u8],
        value: &[u8],
        near: &mut Neighbour<'_>,
    ) -> PairNumber {
        let name = match near.known(self, name, value) {
            Known::Pair(pair) => return pair,
            Known::Name(name) => name,
            Known::Nothing => self.add_name(tenant, text(name)),
        };
        match self.find_value(name, value) {
            Some(pair) => pair,
            None => self.add_pair(name, text(value)),
        }
    }

    fn add_name(&mut self, tenant: TenantNumber, name: &str) -> NameNumber {
        if let Some(number) = self.tenants[tenant].names.get(name) {
            return *number;
        }
        let text: Arc<str> = name.into();
        self.bytes += text.len() as u64 + PAIR_OVERHEAD_BYTES;
        let number = self.names.insert(Name { text: Arc::clone(&text), tenant, values: BTreeMap::new() });
        self.tenants[tenant].names.insert(text, number);
        number
    }

    fn add_pair(&mut self, name: NameNumber, value: &str) -> PairNumber {
        let value: Arc<str> = value.into();
        self.bytes += value.len() as u64 + PAIR_OVERHEAD_BYTES;
        let hash = self.keys.pair(name, value.as_bytes());
        let pair = self.pairs.insert(Pair { name, value: Arc::clone(&value), series: Postings::default() });
        self.names[name].values.insert(value, pair);
        self.by_text.insert(hash, pair);
        pair
    }

    /// Enters a series into the postings of its tenant and its pairs.
    pub fn enter(&mut self, tenant: TenantNumber, pairs: &[PairNumber], series: u32) {
        self.tenants[tenant].all.insert(series);
        for pair in pairs {
            self.pairs[*pair].series.insert(series);
        }
    }

    /// Takes a series out again, and with it every text that no other series has.
    pub fn leave(&mut self, tenant: TenantNumber, pairs: &[PairNumber], series: u32) {
        for &number in pairs {
            let pair = &mut self.pairs[number];
            pair.series.remove(series);
            if pair.series.is_empty() {
                self.remove_pair(number);
            }
        }
        let all = &mut self.tenants[tenant].all;
        all.remove(series);
        if all.is_empty() {
            let tenant = self.tenants.remove(tenant);
            self.numbers.remove(&tenant.id);
        }
    }

    fn remove_pair(&mut self, number: PairNumber) {
        let pair = self.pairs.remove(number);
        self.by_text.remove(self.keys.pair(pair.name, pair.value.as_bytes()), number);
        self.bytes -= pair.value.len() as u64 + PAIR_OVERHEAD_BYTES;
        let name = &mut self.names[pair.name];
        name.values.remove(&pair.value);
        if name.values.is_empty() {
            let name = self.names.remove(pair.name);
            self.bytes -= name.text.len() as u64 + PAIR_OVERHEAD_BYTES;
            self.tenants[name.tenant].names.remove(&name.text);
        }
    }
}

/// What is new is seen to be a text; what is compared need not be.
fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("validate checked that labels are UTF-8")
}

/// A series of the same tenant that may share labels with the one that is looked up: senders write
/// the series of a target one after the other. Saves looking up what both have.
#[derive(Clone, Copy, Default)]
pub struct Neighbour<'a> {
    /// Its pairs, in order of names, from the one on that was not passed yet.
    pairs: &'a [PairNumber],
}

enum Known {
    Pair(PairNumber),
    /// The neighbour has another value of that name.
    Name(NameNumber),
    Nothing,
}

impl<'a> Neighbour<'a> {
    pub fn new(pairs: &'a [PairNumber]) -> Self {
        Self { pairs }
    }

    /// What the neighbour tells of a label; to be asked in order of names.
    fn known(&mut self, index: &LabelIndex, name: &[u8], value: &[u8]) -> Known {
        while let [number, later @ ..] = self.pairs {
            let pair = &index.pairs[*number];
            match index.names[pair.name].text.as_bytes().cmp(name) {
                Ordering::Greater => break,
                Ordering::Less => self.pairs = later,
                Ordering::Equal if pair.value.as_bytes() == value => {
                    self.pairs = later;
                    return Known::Pair(*number);
                }
                Ordering::Equal => {
                    self.pairs = later;
                    return Known::Name(pair.name);
                }
            }
        }
        Known::Nothing
    }
}
