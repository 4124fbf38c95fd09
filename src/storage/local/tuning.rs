//! Every RocksDB option that is not its default, with the reason.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, InfoLogger, LogLevel, Options};
use tracing::{error, warn};

/// Files that RocksDB keeps open: a year of parts must not use up the process's descriptors.
const OPEN_FILES_MAX: i32 = 1024;
/// The catalogue is tiny and flushed at every commit.
const CATALOGUE_MEMTABLE_BYTES: usize = 2 << 20;
/// Room that a MANIFEST is given ahead of what is written to it.
const MANIFEST_PREALLOCATION_BYTES: usize = 16 << 10;
/// Small enough that reading one row does not decompress much, large enough to compress.
const BLOCK_BYTES: usize = 16 << 10;

/// Of merged parts: their rows are longer.
const MERGED_BLOCK_BYTES: usize = 32 << 10;
/// How merged parts are compressed: with much effort, which is little where hardly anything repeats,
/// and kept where it saves 1 %, so that of 1024 bytes so many may be left.
const MERGED_COMPRESSION: &str = "compression_opts={level=12;max_compressed_bytes_per_kb=1014}";

pub fn database() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // The catalogue and the metadata become durable together or not at all.
    options.set_atomic_flush(true);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(2);
    // What it has to say stands in the server's log, and not in files of its own.
    options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Warn, said));
    // A MANIFEST that grows with every commit is rewritten at start and at this size.
    options.set_max_manifest_file_size(4 << 20);
    // A commit adds some hundred bytes to it: by default it takes 4 MiB of the disk from the start.
    options.set_manifest_preallocation_size(MANIFEST_PREALLOCATION_BYTES);
    options.set_paranoid_checks(true);
    options
}

/// Passes on what RocksDB says; its settings, which it says whatever the level, stand in `OPTIONS`.
fn said(level: LogLevel, message: &str) {
    match level {
        LogLevel::Warn => warn!(message, "RocksDB"),
        LogLevel::Error | LogLevel::Fatal => error!(message, "RocksDB"),
        LogLevel::Debug | LogLevel::Info | LogLevel::Header => {}
    }
}

/// Families that take ordinary writes.
pub fn small_family(cache: &Cache) -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(CATALOGUE_MEMTABLE_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_block_based_table_factory(&table(cache, BLOCK_BYTES));
    options
}

/// The family of parts: filled by ingestion alone, merged by us alone.
pub fn parts_family(cache: &Cache) -> Options {
    let mut options = Options::default();
    options.set_disable_auto_compactions(true);
    // Nothing is ever written to its memtable.
    options.set_write_buffer_size(64 << 10);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_block_based_table_factory(&table(cache, BLOCK_BYTES));
    options
}

/// Files of merged parts: written once for good, so that their bytes may cost more time.
pub fn merged_files(cache: &Cache) -> Options {
    let mut options = parts_family(cache);
    options.set_compression_type(DBCompressionType::Zstd);
    options.set_block_based_table_factory(&table(cache, MERGED_BLOCK_BYTES));
    // Blocks are mostly entropy-coded samples. What lies between them, keys and tables, still saves
    // one or two parts in a hundred, which is less than RocksDB asks for unless told otherwise.
    options.get_options_from_string(MERGED_COMPRESSION).expect("an option of RocksDB")
}

fn table(cache: &Cache, block_bytes: usize) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(block_bytes);
    table.set_format_version(6);
    // Index blocks of thousands of parts live in the bounded cache, not beside it.
    table.set_cache_index_and_filter_blocks(true);
    table.set_index_type(rocksdb::BlockBasedIndexType::TwoLevelIndexSearch);
    table
}
