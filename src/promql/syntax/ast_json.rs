//! The tree as `parse_query` answers it: the shapes of Prometheus' `translate_ast.go`.

use serde_json::{Map, Value, json};

use super::ast::{At, Binary, Expr, ExprKind, Extension, TimeShift, VectorSelector};
use super::go_text::float_plain;

pub fn ast_json(expr: &Expr) -> Value {
    match &expr.kind {
        ExprKind::Number(number) => json!({ "type": "numberLiteral", "val": float_plain(number.value) }),
        ExprKind::String(text) => json!({ "type": "stringLiteral", "val": text }),
        ExprKind::Vector(selector) => Value::Object(selector_json("vectorSelector", selector)),
        ExprKind::Matrix(matrix) => {
            let mut node = selector_json("matrixSelector", &matrix.selector);
            node.insert("range".to_owned(), json!(matrix.range_ms));
            Value::Object(node)
        }
        ExprKind::Subquery(subquery) => {
            let mut node = Map::new();
            node.insert("type".to_owned(), json!("subquery"));
            node.insert("expr".to_owned(), ast_json(&subquery.expr));
            node.insert("range".to_owned(), json!(subquery.range_ms));
            node.insert("step".to_owned(), json!(subquery.step_ms.unwrap_or(0)));
            insert_shift(&mut node, &subquery.shift);
            Value::Object(node)
        }
        ExprKind::Call(call) => json!({
            "type": "call",
            "func": {
                "name": call.func.name,
                "argTypes": call.func.arg_types.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(),
                "variadic": call.func.variadic,
                "returnType": call.func.return_type.as_str(),
            },
            "args": call.args.iter().map(ast_json).collect::<Vec<_>>(),
        }),
        ExprKind::Aggregate(aggregate) => json!({
            "type": "aggregation",
            "op": aggregate.op.as_str(),
            "expr": ast_json(&aggregate.expr),
            "param": aggregate.param.as_deref().map(ast_json),
            "grouping": aggregate.grouping,
            "without": aggregate.without,
        }),
        ExprKind::Binary(_) => binary_chain_json(expr),
        ExprKind::Unary(unary) => json!({
            "type": "unaryExpr",
            "op": if unary.negative { "-" } else { "+" },
            "expr": ast_json(&unary.expr),
        }),
        ExprKind::Paren(inner) => json!({ "type": "parenExpr", "expr": ast_json(inner) }),
    }
}

/// A chain leans to the left: its spine is translated from the bottom in a loop.
fn binary_chain_json(expr: &Expr) -> Value {
    let mut spine = Vec::new();
    let mut lowest = expr;
    while let ExprKind::Binary(binary) = &lowest.kind {
        spine.push(binary);
        lowest = &binary.lhs;
    }
    spine.into_iter().rev().fold(ast_json(lowest), binary_json)
}

fn binary_json(lhs: Value, binary: &Binary) -> Value {
    let matching = binary.matching.as_ref().map(|matching| {
        let mut node = json!({
            "card": matching.card.as_str(),
            "labels": matching.labels,
            "on": matching.on,
            "include": matching.include,
        });
        if matching.fill_left.is_some() || matching.fill_right.is_some() {
            node["fillValues"] = json!({ "lhs": matching.fill_left, "rhs": matching.fill_right });
        }
        node
    });
    let mut node = Map::new();
    node.insert("type".to_owned(), json!("binaryExpr"));
    node.insert("op".to_owned(), json!(binary.op.as_str()));
    // Moved, not copied: a long chain would be copied once per operator.
    node.insert("lhs".to_owned(), lhs);
    node.insert("rhs".to_owned(), ast_json(&binary.rhs));
    node.insert("matching".to_owned(), json!(matching));
    node.insert("bool".to_owned(), json!(binary.return_bool));
    Value::Object(node)
}

fn selector_json(kind: &str, selector: &VectorSelector) -> Map<String, Value> {
    let matchers: Vec<Value> = selector
        .matchers
        .iter()
        .map(|m| json!({ "name": &*m.name, "value": &*m.value, "type": m.op.as_str() }))
        .collect();
    let mut node = Map::new();
    node.insert("type".to_owned(), json!(kind));
    node.insert("name".to_owned(), json!(selector.name.as_deref().unwrap_or_default()));
    node.insert("matchers".to_owned(), Value::Array(matchers));
    // Here as in matchings, keys that 3.5 does not know are there only where they say something.
    let extension = match selector.extension {
        Extension::None => None,
        Extension::Anchored => Some("anchored"),
        Extension::Smoothed => Some("smoothed"),
    };
    if let Some(name) = extension {
        node.insert(name.to_owned(), json!(true));
    }
    insert_shift(&mut node, &selector.shift);
    node
}

fn insert_shift(node: &mut Map<String, Value>, shift: &TimeShift) {
    let (timestamp, start_or_end) = match shift.at {
        None => (Value::Null, Value::Null),
        Some(At::Timestamp(ms)) => (json!(ms), Value::Null),
        Some(At::Start) => (Value::Null, json!("start")),
        Some(At::End) => (Value::Null, json!("end")),
    };
    node.insert("offset".to_owned(), json!(shift.offset_ms));
    node.insert("timestamp".to_owned(), timestamp);
    node.insert("startOrEnd".to_owned(), start_or_end);
}
