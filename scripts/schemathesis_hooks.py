"""What schemathesis cannot know: how expressions, times and durations look, and that protobuf is bytes.

One value in six is any text at all.
"""
import schemathesis
from hypothesis import strategies as st

ODD = ['', '0', '-1', 'NaN', '+Inf', '1e308', '9223372036854775807', '1e-9', '0x1p3', '٣', '\u0000', '5m', 'now']


def mostly(strategy):
    return st.integers(0, 5).flatmap(lambda n: st.one_of(st.sampled_from(ODD), st.text(max_size=30)) if n == 0 else strategy)


durations = st.one_of(
    st.sampled_from(['1', '15', '0.5', '5m', '1h30m', '1ms', '1y', '2w3d', '0']),
    st.integers(1, 10**6).map(str),
)
times = st.one_of(
    st.floats(-1e12, 1e12).map(str),
    st.integers(1_600_000_000, 2_000_000_000).map(str),
    st.sampled_from(['2023-11-14T22:13:20Z', '2023-11-14T22:13:20.781+02:00', '0', '-62135596800', '253402300799']),
)
names = st.sampled_from(['up', 'latency_seconds', 'nothing', '{"odd name"}', '{__name__=~".+"}'])
matchers = st.lists(
    st.tuples(
        st.sampled_from(['job', 'instance', '__name__', '"odd.label"']),
        st.sampled_from(['=', '!=', '=~', '!~']),
        st.sampled_from(['""', '"node"', '"a|b"', '".*"', '"(?i)NODE"', "'[a-c]+'"]),
    ).map(''.join),
    max_size=3,
).map(lambda parts: '{' + ','.join(parts) + '}')
selectors = st.one_of(names, matchers, matchers.map(lambda m: 'up' + m))


def extended(inner):
    ranges = st.one_of(st.tuples(selectors, durations).map(lambda p: f'{p[0]}[{p[1]}]'), inner.map(lambda e: f'({e})[10m:1m]'))
    return st.one_of(
        st.tuples(inner, st.sampled_from(['+', '-', '*', '/', '%', '^', '==', '> bool', 'and', 'or', 'unless', '* on (job)',
                                          '/ ignoring (instance) group_left ()']), inner).map(lambda p: f'({p[0]}) {p[1]} ({p[2]})'),
        st.tuples(st.sampled_from(['sum', 'avg by (job)', 'topk without (instance)', 'count_values', 'quantile', 'group']), inner)
        .map(lambda p: {'topk': f'topk without (instance) (2, {p[1]})', 'coun': f'count_values("n", {p[1]})',
                        'quan': f'quantile(0.5, {p[1]})'}.get(p[0][:4], f'{p[0]} ({p[1]})')),
        st.tuples(st.sampled_from(['rate', 'increase', 'resets', 'quantile_over_time', 'predict_linear', 'count_over_time']), ranges)
        .map(lambda p: {'quan': f'quantile_over_time(0.9, {p[1]})', 'pred': f'predict_linear({p[1]}, 60)'}.get(p[0][:4], f'{p[0]}({p[1]})')),
        st.tuples(st.sampled_from(['abs', 'ln', 'sort_desc', 'scalar', 'vector', 'absent', 'histogram_count', 'timestamp', '-']), inner)
        .map(lambda p: f'{p[0]}({p[1]})'),
        inner.map(lambda e: f'histogram_quantile(0.9, {e})'),
        inner.map(lambda e: f'label_replace({e}, "x", "$1", "job", "(.*)")'),
        st.tuples(selectors, st.sampled_from(['offset 5m', 'offset -1h', '@ 0', '@ end()', '@ 1e9 offset 1d'])).map(' '.join),
    )


expressions = st.recursive(st.one_of(selectors, st.sampled_from(['1', '-0', '"text"', 'time()', 'Inf'])), extended, max_leaves=6)

schemathesis.openapi.format('promql', mostly(expressions))
schemathesis.openapi.format('promql-selector', mostly(selectors))
schemathesis.openapi.format('prometheus-time', mostly(times))
schemathesis.openapi.format('prometheus-duration', mostly(durations))


@schemathesis.serializer(
    'application/x-protobuf',
    'application/x-protobuf;proto=prometheus.WriteRequest',
    'application/x-protobuf;proto=io.prometheus.write.v2.Request',
)
def as_bytes(context, value):
    return value if isinstance(value, bytes) else str(value).encode('utf-8', 'surrogatepass')
