//! Where we stand: the figures that this server is to reach, beside what it came to and what the others do.
//!
//! Owns the goals. Each names a data set and a figure or a question of it; where that data set has not been run, the
//! goal is not known to be reached.

use super::figures::{Better, Figure};
use super::page::{Column, head, put_row};
use super::servers::Kind;

/// What a goal is about.
enum About {
    /// The figure of this title.
    OfFigure(&'static str),
    /// How long this question takes again, every result computed, in ms.
    OfQuestion(&'static str),
}

use About::{OfFigure, OfQuestion};

struct Goal {
    data_set: &'static str,
    about: About,
    goal: f64,
    better: Better,
}

const fn at_most(data_set: &'static str, about: About, goal: f64) -> Goal {
    Goal { data_set, about, goal, better: Better::Less }
}

const HOURS: &str = "100000 series, 2 h";
const DAY: &str = "6000 series, 24 h";
const NEW: &str = "1000000 series, 450 s";
const ONE_CORE: &str = "100000 series, 30 min, server on one core";

/// Latency of writes is to stay so far above what the disk takes to sync, which the data set's block tells.
const GOALS: &[Goal] = &[
    at_most(HOURS, OfFigure("the same with settling, ms"), 0.5),
    at_most(DAY, OfFigure("the same with settling, ms"), 0.4),
    at_most(NEW, OfFigure("the same with settling, ms"), 1.0),
    Goal {
        data_set: ONE_CORE,
        about: OfFigure("samples per second"),
        goal: 1_800_000.0,
        better: Better::More,
    },
    at_most(HOURS, OfFigure("write latency p99, ms"), 40.0),
    at_most(HOURS, OfFigure("write latency max, ms"), 300.0),
    at_most(HOURS, OfFigure("suite again, computed: geometric mean, ms"), 2.0),
    at_most(HOURS, OfFigure("suite again, computed: sum, ms"), 500.0),
    at_most(DAY, OfFigure("suite again, computed: geometric mean, ms"), 0.5),
    at_most(DAY, OfFigure("suite again, computed: sum, ms"), 110.0),
    at_most(HOURS, OfQuestion("series by metric"), 50.0),
    at_most(DAY, OfQuestion("24 h: p99 by job"), 25.0),
    at_most(HOURS, OfFigure("mixed: write latency p99, ms"), 50.0),
    at_most(HOURS, OfFigure("mixed: question p50, ms"), 2.0),
    at_most(HOURS, OfFigure("mixed: question p95, ms"), 60.0),
];

impl Goal {
    fn title(&self) -> String {
        match self.about {
            OfFigure("the same with settling, ms") => {
                format!("{}: CPU per 1000 samples, settling included, ms", self.data_set)
            }
            OfFigure(title) => format!("{}: {title}", self.data_set),
            OfQuestion(name) => format!("{}: \"{name}\" again, computed, ms", self.data_set),
        }
    }

    /// What it came to on a server.
    fn figure_of(&self, column: &Column) -> Option<Figure> {
        match self.about {
            OfFigure(title) => column.figures.iter().find(|figure| figure.title == title).cloned(),
            OfQuestion(name) => {
                let asked = column.asked.iter().find(|asked| asked.name == name && asked.answer.is_ok());
                asked.map(|asked| Figure::less(name, asked.again_ms, 1))
            }
        }
    }

    fn text(&self) -> String {
        match self.better {
            Better::Less => format!("≤ {}", self.goal),
            Better::More => format!("≥ {}", self.goal),
        }
    }

    fn verdict(&self, figure: &Figure) -> String {
        let share = match self.better {
            Better::Less => figure.value / self.goal,
            Better::More => self.goal / figure.value,
        };
        if share <= 1.0 { "yes".to_owned() } else { format!("**× {share:.2}**") }
    }
}

/// Whether there is a result for every goal.
pub fn is_complete(results: &[(String, Vec<Column>)]) -> bool {
    GOALS.iter().all(|goal| results.iter().any(|(name, _)| name == goal.data_set))
}

/// A row per goal of the data sets that were run, each with its columns.
pub fn block(servers: &[Kind], results: &[(String, Vec<Column>)]) -> String {
    let mut names: Vec<&str> = servers.iter().map(|kind| kind.name()).collect();
    names.extend(["goal", "reached"]);
    let mut out = head("", &names);
    for goal in GOALS {
        let Some((_, columns)) = results.iter().find(|(name, _)| name == goal.data_set) else { continue };
        let figure = |kind: Kind| {
            let column = columns.iter().find(|column| column.kind == kind)?;
            goal.figure_of(column)
        };
        let text = |kind: &Kind| figure(*kind).map_or("–".to_owned(), |figure| figure.text());
        let mut cells: Vec<String> = servers.iter().map(text).collect();
        cells.push(goal.text());
        cells.push(figure(Kind::Onggi).map_or("–".to_owned(), |figure| goal.verdict(&figure)));
        put_row(&mut out, &goal.title(), &cells);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::ask::Asked;
    use super::super::questions::SUITE;
    use super::super::settings::{Settings, TABLE};
    use super::*;

    #[test]
    fn what_is_missed_says_by_how_much() {
        let column = |kind: Kind, rate: f64| Column {
            kind,
            version: String::new(),
            figures: vec![Figure::more("samples per second", rate, 0)],
            asked: Vec::new(),
            differences: Vec::new(),
        };
        let columns = vec![column(Kind::Onggi, 900_000.0), column(Kind::VictoriaMetrics, 500_000.0)];
        let servers = [Kind::Onggi, Kind::Prometheus, Kind::VictoriaMetrics];

        let results = [(ONE_CORE.to_owned(), columns)];
        let block = block(&servers, &results);

        let row =
            format!("| {ONE_CORE}: samples per second | 900000 | – | 500000 | ≥ 1800000 | **× 2.00** |\n");
        assert!(block.ends_with(&row), "{block}");
        assert_eq!(block.lines().count(), 3, "{block}");
        assert!(!is_complete(&results));
    }

    #[test]
    fn a_question_counts_where_it_is_answered() {
        let asked = |answer| Asked {
            name: "series by metric",
            first_ms: 70.0,
            again_ms: 50.0,
            remembered_ms: 1.0,
            answer,
        };
        let column = |answer| Column {
            kind: Kind::Onggi,
            version: String::new(),
            figures: Vec::new(),
            asked: vec![asked(answer)],
            differences: Vec::new(),
        };
        let goal = at_most(HOURS, OfQuestion("series by metric"), 50.0);

        let figure = goal.figure_of(&column(Ok((1, 1)))).unwrap();

        assert_eq!((goal.verdict(&figure), figure.text()), ("yes".to_owned(), "50.0".to_owned()));
        assert!(goal.figure_of(&column(Err("503".to_owned()))).is_none());
    }

    #[test]
    fn goals_are_about_data_sets_and_questions_that_there_are() {
        let folder = std::path::Path::new("nowhere");
        let settings = Settings {
            sets: TABLE.map(str::to_owned).into(),
            is_pinned: false,
            ..Settings::from_environment(folder, folder)
        };
        let sets: Vec<String> = settings.data_sets().iter().map(Settings::data_set).collect();

        for goal in GOALS {
            assert!(sets.iter().any(|set| set == goal.data_set), "{}", goal.title());
            if let OfQuestion(name) = goal.about {
                assert!(SUITE.iter().any(|question| question.name == name), "{name}");
            }
        }
    }
}
