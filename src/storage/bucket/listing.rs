//! Pages of a listing, in the order of keys.
//!
//! Owns what `object_store` does not promise: order, and a page that ends. Stores that begin after a key by
//! themselves are asked for one page at a time, and a page that is not in order is an error, since keys would hide
//! behind it. Folders have no order: all their names are looked at, of which the smallest are kept.

use std::collections::BTreeMap;

use object_store::ObjectMeta;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;

use super::store::{Objects, judge};
use crate::replication::bucket::{BucketError, Entry, PAGE_KEYS_MAX, Page};
use crate::replication::names::NODES;

/// A store may answer pages without a key, as long as more follow; not for ever.
const EMPTY_PAGES_MAX: usize = 32;

/// One page of a store that lists in order, from after a key.
pub async fn by_pages(
    store: &dyn PaginatedListStore,
    root: &str,
    prefix: &str,
    after: Option<&str>,
) -> Result<Page, BucketError> {
    let full_prefix = format!("{root}{prefix}");
    let mut page_token = None;
    for _ in 0..EMPTY_PAGES_MAX {
        let options = PaginatedListOptions {
            offset: after.map(|after| format!("{root}{after}")),
            max_keys: Some(PAGE_KEYS_MAX),
            page_token,
            ..PaginatedListOptions::default()
        };
        let answer = store.list_paginated(Some(&full_prefix), options).await.map_err(judge)?;
        let mut entries = Vec::with_capacity(answer.result.objects.len());
        for object in answer.result.objects {
            entries.push(entry(object, root)?);
        }
        let more = answer.page_token.is_some();
        if !entries.is_empty() || !more {
            return in_order(Page { entries, more }, prefix, after);
        }
        page_token = answer.page_token;
    }
    Err(BucketError::Unknown(format!("{EMPTY_PAGES_MAX} pages without a key")))
}

/// Checks what a listing has to keep to.
pub fn in_order(mut page: Page, prefix: &str, after: Option<&str>) -> Result<Page, BucketError> {
    let mut previous = after;
    for entry in &page.entries {
        if !entry.key.starts_with(prefix) {
            return Err(BucketError::Unknown(format!("{} is not below {prefix}", entry.key)));
        }
        if previous.is_some_and(|previous| previous >= &*entry.key) {
            let previous = previous.unwrap_or_default();
            return Err(BucketError::Unknown(format!("{} follows {previous}: not in order", entry.key)));
        }
        previous = Some(entry.key.as_str());
    }
    if page.entries.len() > PAGE_KEYS_MAX {
        page.entries.truncate(PAGE_KEYS_MAX);
        page.more = true;
    }
    Ok(page)
}

/// One page of a store that lists folder by folder.
pub async fn by_folders(objects: &Objects, prefix: &str, after: Option<&str>) -> Result<Page, BucketError> {
    let mut folders: Vec<Path> = vec![objects.path(prefix)?];
    let mut smallest: BTreeMap<String, Entry> = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        let below = format!("{}/", key_of(&folder, &objects.root)?);
        let is_before = after.is_some_and(|after| *below < *after && !after.starts_with(&below));
        let last = smallest.last_key_value().filter(|_| smallest.len() > PAGE_KEYS_MAX);
        let is_beyond = last.is_some_and(|(last, _)| *last < below);
        if is_before || is_beyond {
            continue;
        }
        let listed = objects.store.list_with_delimiter(Some(&folder)).await.map_err(judge)?;
        // The first of them is looked at first: what it has makes others needless.
        folders.extend(listed.common_prefixes.into_iter().rev());
        for object in listed.objects {
            let entry = entry(object, &objects.root)?;
            if after.is_some_and(|after| *entry.key <= *after) {
                continue;
            }
            smallest.insert(entry.key.clone(), entry);
            if smallest.len() > PAGE_KEYS_MAX + 1 {
                smallest.pop_last();
            }
        }
    }
    let more = smallest.len() > PAGE_KEYS_MAX;
    let entries = smallest.into_values().take(PAGE_KEYS_MAX).collect();
    in_order(Page { entries, more }, prefix, after)
}

fn entry(object: ObjectMeta, root: &str) -> Result<Entry, BucketError> {
    let key = key_of(&object.location, root)?.to_owned();
    let tag = if key.starts_with(NODES) { object.e_tag.as_deref().map(tag_of) } else { None };
    Ok(Entry { key, bytes: object.size, modified_ms: object.last_modified.timestamp_millis(), tag })
}

/// An entity tag as the core compares it: stores put it in quotes in a header, and not all of them in a listing.
pub fn tag_of(e_tag: &str) -> String {
    e_tag.trim_matches('"').to_owned()
}

fn key_of<'a>(path: &'a Path, root: &str) -> Result<&'a str, BucketError> {
    let path = path.as_ref();
    path.strip_prefix(root).ok_or_else(|| BucketError::Unknown(format!("{path} is not below {root}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(keys: &[&str]) -> Page {
        let entry = |key: &&str| Entry { key: (*key).to_owned(), bytes: 1, modified_ms: 0, tag: None };
        Page { entries: keys.iter().map(entry).collect(), more: false }
    }

    #[test]
    fn a_page_that_is_out_of_order_or_begins_too_early_is_an_error() {
        let check = |keys: &[&str], after: Option<&str>, is_fine: bool| {
            assert_eq!(in_order(page(keys), "wal/", after).is_ok(), is_fine, "{keys:?} after {after:?}");
        };
        check(&["wal/a", "wal/b"], None, true);
        check(&["wal/b", "wal/c"], Some("wal/a"), true);
        check(&["wal/b", "wal/a"], None, false);
        check(&["wal/a", "wal/a"], None, false);
        check(&["wal/a", "wal/b"], Some("wal/a"), false);
        check(&["cat/a"], None, false);
    }

    #[test]
    fn a_page_that_is_too_long_is_cut_and_says_that_more_follow() {
        let keys: Vec<String> = (0..=PAGE_KEYS_MAX).map(|n| format!("wal/{n:06}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();

        let cut = in_order(page(&keys), "wal/", None).unwrap();

        assert_eq!((cut.entries.len(), cut.more), (PAGE_KEYS_MAX, true));
    }
}
