//! `onggi bucket cost`: what a month of a bucket costs, with its arithmetic.
//!
//! ```text
//! as now: N replicas, N segments/s
//!   WHAT: FACTORS = COUNT UNIT × PRICE = AMOUNT
//!   total: AMOUNT a month
//! with something to write at every flush: …
//! ```

use anyhow::bail;
use clap::{Arg, ArgMatches, Command};

use super::text::print;
use super::{Opened, millis};
use crate::storage::survey::Survey;
use crate::storage::survey::cost::{
    DEFAULT_PRICES, Line, Load, Prices, Unit, lines as bill, observed_segments_per_second, total,
};
use crate::storage::survey::inventory::Inventory;

pub const NAME: &str = "cost";

const PUT: &str = "price.put";
const GET: &str = "price.get";
const STORAGE: &str = "price.storage";
const REPLICAS: &str = "replicas";

pub fn command() -> Command {
    let price = |name: &'static str, default: f64, help: &'static str| {
        let help = format!("{help} [default: {default}: S3 Standard, us-east-1]");
        Arg::new(name).long(name).value_name("DOLLARS").help(help)
    };
    Command::new(NAME)
        .about("What a month of the bucket costs, about")
        .long_about(
            "What a month of the bucket costs, about: storage as it is now, and the requests that replicas make by \
             the intervals that are set here as for the server, each line with its factors. Once for the segments \
             that were written in the last ten minutes, and once as if every replica had something to write at \
             every flush. Not in it: what questions read of blocks, traffic, deletes (free on S3).",
        )
        .arg(price(PUT, DEFAULT_PRICES.put_1000, "Price of a thousand PUT or LIST requests"))
        .arg(price(GET, DEFAULT_PRICES.get_1000, "Price of a thousand GET requests"))
        .arg(price(STORAGE, DEFAULT_PRICES.gigabyte_month, "Price of a gigabyte (10⁹ bytes) for a month"))
        .arg(
            Arg::new(REPLICAS)
                .long(REPLICAS)
                .value_name("NUMBER")
                .help("How many replicas there are [default: those that beat now, or 1]"),
        )
}

pub fn run(matches: &ArgMatches) -> anyhow::Result<()> {
    let prices = Prices {
        put_1000: price(matches, PUT, DEFAULT_PRICES.put_1000)?,
        get_1000: price(matches, GET, DEFAULT_PRICES.get_1000)?,
        gigabyte_month: price(matches, STORAGE, DEFAULT_PRICES.gigabyte_month)?,
    };
    let replicas = replicas(matches)?;
    let opened = Opened::new(matches)?;
    let survey = opened.runtime.block_on(Survey::take(&opened.scripts))?;
    let silent_ms = opened.silent_ms();
    let live = survey.nodes.values().filter(|node| node.is_live(survey.taken_ms, silent_ms)).count() as u64;
    let settings = &opened.settings;
    let load = Load {
        replicas: replicas.unwrap_or(live.max(1)),
        segments_per_second: observed_segments_per_second(&survey),
        flush_ms: millis(settings.flush_interval),
        cut_ms: millis(settings.cut_interval),
        sweep_ms: millis(settings.sweep_interval),
        refresh_ms: millis(settings.refresh_interval),
        heartbeat_ms: millis(settings.heartbeat_interval),
    };
    Ok(print(&lines(&Inventory::of(&survey), &load, &prices))?)
}

fn price(matches: &ArgMatches, name: &str, default: f64) -> anyhow::Result<f64> {
    let Some(text) = matches.get_one::<String>(name) else { return Ok(default) };
    match text.parse::<f64>() {
        Ok(price) if price.is_finite() && price >= 0.0 => Ok(price),
        _ => bail!("--{name}: {text:?} is no price: expected a number such as {default}"),
    }
}

fn replicas(matches: &ArgMatches) -> anyhow::Result<Option<u64>> {
    let Some(text) = matches.get_one::<String>(REPLICAS) else { return Ok(None) };
    match text.parse() {
        Ok(replicas @ 1..=1000) => Ok(Some(replicas)),
        _ => bail!("--{REPLICAS}: {text:?}: expected a number from 1 to 1000"),
    }
}

pub fn lines(inventory: &Inventory, load: &Load, prices: &Prices) -> Vec<String> {
    let mut lines = Vec::new();
    for (title, load) in [("as now", *load), ("with something to write at every flush", load.full())] {
        let Load { replicas, segments_per_second, .. } = load;
        lines.push(format!("{title}: {replicas} replicas, {segments_per_second:.3} segments/s"));
        let bill = bill(inventory, &load, prices);
        lines.extend(bill.iter().map(|line| format!("  {}", shown(line, prices))));
        lines.push(format!("  total: ${:.2} a month", total(&bill)));
    }
    lines
}

fn shown(line: &Line, prices: &Prices) -> String {
    let Line { what, reckoned, count, unit, price } = line;
    let count = match unit {
        Unit::Put => format!("{count:.0} × ${}/1000", prices.put_1000),
        Unit::Get => format!("{count:.0} × ${}/1000", prices.get_1000),
        Unit::GigabyteMonth => format!("{count:.3} GB × ${}", prices.gigabyte_month),
    };
    format!("{what}: {reckoned} = {count} = ${price:.2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_replicas_at_half_a_second_cost_what_the_formulas_say() {
        let load = Load {
            replicas: 3,
            segments_per_second: 0.0,
            flush_ms: 500,
            cut_ms: 300_000,
            sweep_ms: 30_000,
            refresh_ms: 15_000,
            heartbeat_ms: 10_000,
        };

        let lines = lines(&Inventory::default(), &load, &DEFAULT_PRICES);

        let has = |line: &str| assert!(lines.iter().any(|l| l == line), "{line}\n{}", lines.join("\n"));
        has("as now: 3 replicas, 0.000 segments/s");
        has("  segments: PUT: 0.000/s × 2592000 s = 0 × $0.005/1000 = $0.00");
        has("  sweeps: LIST wal/: 3 replicas × 1 pages × 2592000 s / 30 s = 259200 × $0.005/1000 = $1.30");
        has(
            "  refreshes: LIST cat/ and tomb/: 3 replicas × 2 pages × 2592000 s / 30 s = 518400 × $0.005/1000 = $2.59",
        );
        has("with something to write at every flush: 3 replicas, 6.000 segments/s");
        has("  segments: PUT: 6.000/s × 2592000 s = 15552000 × $0.005/1000 = $77.76");
        has(
            "  segments: GET by the others: 6.000/s × 2 other replicas × 2592000 s = 31104000 × $0.0004/1000 = $12.44",
        );
        let cuts = |line: &&String| line.starts_with("  cuts: PUT");
        assert_eq!(lines.iter().filter(cuts).count(), 1, "nothing is cut where nothing is written");
        assert_eq!(lines.iter().filter(|line| line.starts_with("  total: $")).count(), 2);
    }
}
