//! Series told apart by numbers of their labels, where nobody looks at all of those.
//!
//! To make the label set of every series, to hash and to compare it takes longer than most of what is then
//! done with the series. Whoever has some ([`LabelNumbers`]) tells which labels there are, each once, and of
//! each set their numbers. A question has numbers of its own for the labels of all places: a series is the
//! same in two of them where its numbers are, and nothing rests on a hash alone. At the end labels are ranked
//! by their texts: ranks say in which order series come, and what they have in common of the labels that
//! are wanted.

use std::collections::HashMap;

use hashbrown::HashTable;

use super::found::{Found, Order, Rows};
use super::head::SeriesRef;
use super::part::{RESERVED_BYTES, Room};
use crate::model::{Labels, LabelsBuffer, LabelsHash};
use crate::querier::{LabelsWanted, QueryError, QueryGuard};

/// Memory of a label beside its bytes: heap header, its places in tables.
const LABEL_BYTES: u64 = 64;
/// Memory of a series beside its numbers: its [`Found`], its end, its places in tables.
const FOUND_BYTES: u64 = size_of::<Found>() as u64 + 64;
/// Memory of a kind beside its labels and its numbers while kinds are told apart.
const KIND_BYTES: u64 = 96;

/// Series between two looks at the deadline.
const CHECK_SERIES: usize = 4096;

/// Label sets of one place, as numbers of their labels there.
#[derive(Debug, Default)]
pub struct LabelNumbers {
    /// Each label alone.
    labels: Vec<Labels>,
    label_bytes: u64,
    sets: Sets,
}

/// Numbers of sets, one set behind the other; those of a set are in the order of names.
#[derive(Debug, Default)]
struct Sets {
    numbers: Vec<u32>,
    ends: Vec<usize>,
}

impl Sets {
    fn get(&self, at: usize) -> &[u32] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.numbers[start..self.ends[at]]
    }

    fn push(&mut self, numbers: impl IntoIterator<Item = u32>) {
        self.numbers.extend(numbers);
        self.ends.push(self.numbers.len());
    }

    fn bytes(&self) -> u64 {
        (size_of_val(&*self.numbers) + size_of_val(&*self.ends)) as u64
    }
}

impl LabelNumbers {
    /// The number of a label that was not there before.
    pub fn add_label(&mut self, name: &str, value: &str) -> u32 {
        let label = Labels::from_sorted([(name, value)]);
        self.label_bytes += label.as_bytes().len() as u64 + LABEL_BYTES;
        self.labels.push(label);
        self.labels.len() as u32 - 1
    }

    /// Adds a set by the numbers of its labels, in the order of their names.
    pub fn add_set(&mut self, numbers: &[u32]) {
        self.sets.push(numbers.iter().copied());
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> u64 {
        self.label_bytes + self.sets.bytes()
    }
}

/// Series of all places, each once. Adding reserves what it takes.
#[derive(Default)]
pub(super) struct NumberedSeries {
    /// Each label alone, by the question's own numbers.
    labels: Vec<Labels>,
    by_label: HashTable<u32>,
    found: Vec<Found>,
    /// Beside `found`.
    sets: Sets,
    /// Hashes and places in `found`, of as many as there were when it was last needed.
    by_numbers: HashTable<(u64, usize)>,
    /// How many there were before the place at hand.
    before_place: usize,
    /// The labels of each until they are known.
    nothing: Labels,
    label_bytes: u64,
    row_bytes: u64,
    reserved_bytes: u64,
}

impl NumberedSeries {
    /// What is added from now on is of another place, which has each series once.
    pub fn begin_place(&mut self) {
        self.before_place = self.found.len();
    }

    /// Adds rows of a part.
    pub fn add_rows(
        &mut self,
        part: u32,
        rows: &[u32],
        numbers: &LabelNumbers,
        guard: &QueryGuard,
    ) -> Result<(), QueryError> {
        self.row_bytes += 8 * rows.len() as u64;
        self.add(numbers, guard, |found, at| found.rows.push((part, rows[at])))
    }

    /// Adds series of the head.
    pub fn add_head(
        &mut self,
        series: &[SeriesRef],
        numbers: &LabelNumbers,
        guard: &QueryGuard,
    ) -> Result<(), QueryError> {
        self.add(numbers, guard, |found, at| found.head = Some(series[at]))
    }

    fn add(
        &mut self,
        numbers: &LabelNumbers,
        guard: &QueryGuard,
        put: impl Fn(&mut Found, usize),
    ) -> Result<(), QueryError> {
        guard.check()?;
        let own: Vec<u32> = numbers.labels.iter().map(|label| self.number(label)).collect();
        // Where most are there already, most of this is given back.
        let all_bytes = numbers.sets.ends.len() as u64 * FOUND_BYTES + numbers.sets.bytes();
        self.hold(self.bytes() + all_bytes, guard)?;
        let mut set: Vec<u32> = Vec::new();
        let mut key: Vec<u8> = Vec::new();
        if self.before_place > 0 {
            for at in self.by_numbers.len()..self.found.len() {
                let hash = hash_of(self.sets.get(at), &mut key);
                self.by_numbers.insert_unique(hash, (hash, at), |(hash, _)| *hash);
            }
        }
        for at in 0..numbers.sets.ends.len() {
            set.clear();
            set.extend(numbers.sets.get(at).iter().map(|number| own[*number as usize]));
            let place = if self.before_place == 0 { self.push(&set) } else { self.entry(&set, &mut key) };
            put(&mut self.found[place], at);
        }
        self.hold(self.bytes(), guard)
    }

    /// Has so much reserved, neither more nor less.
    fn hold(&mut self, bytes: u64, guard: &QueryGuard) -> Result<(), QueryError> {
        guard.reserve(bytes.saturating_sub(self.reserved_bytes))?;
        guard.release(self.reserved_bytes.saturating_sub(bytes));
        self.reserved_bytes = bytes;
        Ok(())
    }

    /// The question's number of a label.
    fn number(&mut self, label: &Labels) -> u32 {
        let hash = LabelsHash.of(label.as_bytes());
        let known = self.by_label.find(hash, |number| self.labels[*number as usize] == *label);
        if let Some(number) = known {
            return *number;
        }
        let number = self.labels.len() as u32;
        self.label_bytes += label.as_bytes().len() as u64 + LABEL_BYTES;
        self.labels.push(label.clone());
        let labels = &self.labels;
        let rehash = |number: &u32| LabelsHash.of(labels[*number as usize].as_bytes());
        self.by_label.insert_unique(hash, number, rehash);
        number
    }

    fn push(&mut self, set: &[u32]) -> usize {
        self.sets.push(set.iter().copied());
        let labels = self.nothing.clone();
        self.found.push(Found { labels, head: None, rows: Rows::None, oldest_ms: i64::MIN });
        self.found.len() - 1
    }

    /// The place of the series with these labels.
    fn entry(&mut self, set: &[u32], key: &mut Vec<u8>) -> usize {
        let hash = hash_of(set, key);
        let sets = &self.sets;
        if let Some((_, place)) = self.by_numbers.find(hash, |(_, place)| sets.get(*place) == set) {
            return *place;
        }
        let place = self.push(set);
        self.by_numbers.insert_unique(hash, (hash, place), |(hash, _)| *hash);
        place
    }

    /// Memory that it takes.
    fn bytes(&self) -> u64 {
        let found_bytes = self.found.len() as u64 * FOUND_BYTES;
        found_bytes + self.row_bytes + self.label_bytes + self.sets.bytes()
    }

    /// The series with what is wanted of their labels, in an order, and the memory that they take.
    pub fn into_found(
        self,
        wanted: &LabelsWanted,
        order: Order,
        guard: &QueryGuard,
    ) -> Result<(Vec<Found>, u64), QueryError> {
        guard.check()?;
        let Self { labels, by_label, mut found, mut sets, by_numbers, row_bytes, .. } = self;
        drop((by_label, by_numbers));
        // Those of one pair are in the order of names, then of values.
        let mut ranked: Vec<u32> = (0..labels.len() as u32).collect();
        ranked.sort_unstable_by(|a, b| labels[*a as usize].cmp(&labels[*b as usize]));
        let mut ranks = vec![0u32; labels.len()];
        for (rank, number) in ranked.iter().enumerate() {
            ranks[*number as usize] = rank as u32;
        }
        sets.numbers.iter_mut().for_each(|number| *number = ranks[*number as usize]);
        let labels: Vec<Labels> = ranked.iter().map(|number| labels[*number as usize].clone()).collect();
        let labels_bytes = label_kinds(&mut found, &sets, &labels, wanted, guard)?;
        if order == Order::OfLabels {
            guard.check()?;
            found = in_order(found, &sets);
        }
        let bytes = found.len() as u64 * (size_of::<Found>() as u64) + row_bytes + labels_bytes;
        Ok((found, bytes))
    }
}

/// Gives series what is wanted of their labels, one set to all that have it in common; says what the sets
/// take. Reserves that, and what telling kinds apart takes.
fn label_kinds(
    found: &mut [Found],
    sets: &Sets,
    labels: &[Labels],
    wanted: &LabelsWanted,
    guard: &QueryGuard,
) -> Result<u64, QueryError> {
    let is_kept = |label: &Labels| label.iter().any(|(name, _)| wanted.keeps(name));
    let kept: Vec<bool> = labels.iter().map(is_kept).collect();
    let mut kinds: HashMap<Vec<u8>, Labels, LabelsHash> = HashMap::default();
    let mut key: Vec<u8> = Vec::new();
    let mut packed = LabelsBuffer::default();
    let mut room = Room::new(guard, if found.len() < CHECK_SERIES { 0 } else { RESERVED_BYTES });
    let mut bytes = 0;
    for (at, found) in found.iter_mut().enumerate() {
        if at.is_multiple_of(CHECK_SERIES) {
            guard.check()?;
        }
        let of_kind = || sets.get(at).iter().filter(|rank| kept[**rank as usize]);
        key.clear();
        of_kind().for_each(|rank| key.extend_from_slice(&rank.to_le_bytes()));
        if let Some(known) = kinds.get(key.as_slice()) {
            found.labels = known.clone();
            continue;
        }
        packed.clear();
        for (name, value) in of_kind().flat_map(|rank| &labels[*rank as usize]) {
            packed.push(name, value);
        }
        let set_bytes = packed.as_bytes().len() as u64 + LABEL_BYTES;
        room.take(set_bytes + KIND_BYTES + key.len() as u64)?;
        bytes += set_bytes;
        found.labels = packed.labels();
        kinds.insert(key.clone(), found.labels.clone());
    }
    Ok(bytes)
}

/// Series in the order of their labels, whose ranks these are.
fn in_order(found: Vec<Found>, sets: &Sets) -> Vec<Found> {
    // Most are told apart by their first two labels: those are looked at without a detour.
    let begin = |at: usize| {
        let rank = |place: usize| sets.get(at).get(place).map_or(0, |rank| u64::from(*rank) + 1);
        rank(0) << 32 | rank(1)
    };
    let mut sorted: Vec<(u64, usize)> = (0..found.len()).map(|at| (begin(at), at)).collect();
    sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| sets.get(a.1).cmp(sets.get(b.1))));
    let mut unsorted: Vec<Option<Found>> = found.into_iter().map(Some).collect();
    sorted.into_iter().filter_map(|(_, at)| unsorted[at].take()).collect()
}

/// `key` is room for it.
fn hash_of(set: &[u32], key: &mut Vec<u8>) -> u64 {
    key.clear();
    set.iter().for_each(|number| key.extend_from_slice(&number.to_le_bytes()));
    LabelsHash.of(key)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::memory::MemoryBudget;

    fn numbers_of(sets: &[Labels]) -> LabelNumbers {
        let mut numbers = LabelNumbers::default();
        let mut known: HashMap<(String, String), u32> = HashMap::new();
        for labels in sets {
            let own: Vec<u32> = labels
                .iter()
                .map(|(name, value)| {
                    let label = (name.to_owned(), value.to_owned());
                    *known.entry(label).or_insert_with(|| numbers.add_label(name, value))
                })
                .collect();
            numbers.add_set(&own);
        }
        numbers
    }

    #[test]
    fn what_there_is_no_memory_for_is_not_made_and_what_is_there_twice_is_held_once() {
        let labels: Vec<Labels> =
            (0..1000).map(|pod| Labels::from_pairs([("pod", format!("{pod:04}"))])).collect();
        let rows: Vec<u32> = (0..1000).collect();
        let numbers = numbers_of(&labels);
        let guard = |bytes: u64| QueryGuard::new(None, MemoryBudget::new("query", bytes));
        let (little, enough) = (guard(100 << 10), guard(1 << 20));

        let mut all = NumberedSeries::default();
        assert!(all.add_rows(0, &rows, &numbers, &little).is_err());
        assert!(all.found.is_empty());

        let mut all = NumberedSeries::default();
        all.add_rows(0, &rows, &numbers, &enough).expect("fits");
        let once = enough.reserved_bytes();
        all.begin_place();
        all.add_rows(1, &rows, &numbers, &enough).expect("fits");
        assert_eq!((enough.reserved_bytes(), all.found.len()), (once + 8 * 1000, 1000));

        let wanted = LabelsWanted::Without(Vec::new());
        all.into_found(&wanted, Order::Any, &enough).expect("fits");
        assert!(enough.reserved_bytes() > once + 1000 * (KIND_BYTES + LABEL_BYTES), "each is a kind");
    }

    fn sets() -> impl Strategy<Value = Vec<Labels>> {
        let set = prop::collection::btree_map("A|__name__|job|le|pod", "[abc]|10|2", 0..5);
        prop::collection::btree_set(set, 0..40)
            .prop_map(|sets: std::collections::BTreeSet<BTreeMap<String, String>>| {
                sets.iter().map(Labels::from_pairs).collect::<Vec<_>>()
            })
            .prop_shuffle()
    }

    /// Rows of parts, and the head's.
    type Places = (Vec<(u32, u32)>, Option<SeriesRef>);

    proptest! {
        #[test]
        fn each_series_is_found_once_with_all_its_places_and_in_the_order_of_all_its_labels(
            parts in prop::collection::vec(sets(), 0..4),
            head in sets(),
            names in prop::collection::btree_set("__name__|job|le", 0..3),
            is_by in any::<bool>(),
        ) {
            let guard = QueryGuard::unlimited();
            let names: Vec<String> = names.into_iter().collect();
            let wanted = if is_by { LabelsWanted::By(names) } else { LabelsWanted::Without(names) };
            let mut want: BTreeMap<Labels, Places> = BTreeMap::new();
            let mut all = NumberedSeries::default();
            for (part, labels) in parts.iter().enumerate() {
                let rows: Vec<u32> = (0..labels.len() as u32).map(|at| at * 2).collect();
                for (row, labels) in rows.iter().zip(labels) {
                    want.entry(labels.clone()).or_default().0.push((part as u32, *row));
                }
                all.begin_place();
                // In two stretches, as of long parts.
                let (first, second) = rows.split_at(rows.len() / 3);
                let (first_labels, second_labels) = labels.split_at(first.len());
                all.add_rows(part as u32, first, &numbers_of(first_labels), &guard).expect("unlimited");
                all.add_rows(part as u32, second, &numbers_of(second_labels), &guard).expect("unlimited");
            }
            let series: Vec<SeriesRef> =
                (0..head.len() as u32).map(|id| SeriesRef { id, generation: 1 }).collect();
            for (series, labels) in series.iter().zip(&head) {
                want.entry(labels.clone()).or_default().1 = Some(*series);
            }
            all.begin_place();
            all.add_head(&series, &numbers_of(&head), &guard).expect("unlimited");

            let (found, _) = all.into_found(&wanted, Order::OfLabels, &guard).expect("unlimited");

            let found: Vec<_> =
                found.into_iter().map(|f| (f.labels, (f.rows.as_slice().to_vec(), f.head))).collect();
            let want: Vec<_> = want.into_iter().map(|(labels, places)| (wanted.of(&labels), places)).collect();
            prop_assert_eq!(found, want);
        }
    }
}
