//! The dictionary: strings ascend, and each block is found by the texts at its ends.

use super::Report;
use crate::storage::part::container::SectionSource;
use crate::storage::part::dictionary::{BLOCK_SYMBOLS, Symbol};
use crate::storage::part::reader::PartReader;

pub fn verify<S: SectionSource>(reader: &PartReader<S>, report: Report<'_>) {
    let symbols = reader.summary.symbols;
    let mut last: Option<Symbol> = None;
    let mut number = 1;
    while number <= symbols {
        match reader.symbol(number) {
            Ok(text) => {
                if last.as_ref().is_some_and(|last| **last >= *text) {
                    report(format!("string {number} is not above the one before it"));
                }
                // Within a block strings are found by halving it; only its ends need the separators.
                let at_an_end = matches!(number % BLOCK_SYMBOLS, 0 | 1) || number == symbols;
                if at_an_end {
                    find(reader, number, &text, report);
                }
                last = Some(text);
                number += 1;
            }
            Err(error) => {
                report(error.to_string());
                // The rest of the block would only say the same again.
                number = ((number - 1) / BLOCK_SYMBOLS + 1).saturating_mul(BLOCK_SYMBOLS).saturating_add(1);
            }
        }
    }
}

fn find<S: SectionSource>(reader: &PartReader<S>, number: u32, text: &str, report: Report<'_>) {
    match reader.dictionary.find(&reader.source, text) {
        Ok(Some(found)) if found == number => {}
        Ok(found) => report(format!("string {number} ({text:?}) is found by its text as {found:?}")),
        Err(error) => report(format!("string {number} ({text:?}): {error}")),
    }
}
