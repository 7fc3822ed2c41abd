// The time axis below what is drawn here by hand.

const STEPS = [60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400];
/** So far apart stand two times, at least. */
const APART = 90;

export function TimeAxis({ view, left, width, top, theme }) {
    const span = view.end - view.start;
    const step = STEPS.find((step) => (step / span) * width >= APART) ?? STEPS.at(-1);
    const first = Math.ceil(view.start / step) * step;
    const times = Array.from({ length: Math.floor((view.end - first) / step) + 1 }, (_, n) => first + n * step);
    return times.map((time) => (
        <text key={time} x={left + ((time - view.start) / span) * width} y={top + 14} fontSize="12" textAnchor="middle" fill={theme.colors.text.primary}>
            {new Date(time * 1000).toISOString().slice(11, 16)}
        </text>
    ));
}
