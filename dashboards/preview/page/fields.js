// Answers as Grafana's data frames, with the panel's unit, colours, thresholds and words.

import { FieldType, createDataFrame, getDisplayProcessor } from '@grafana/data';

/** A panel's field config as the components want it: JSON has no minus infinity. */
function config(panel) {
    const { defaults } = panel.fieldConfig;
    const steps = defaults.thresholds?.steps.map(({ value, color }) => ({ value: value ?? -Infinity, color }));
    return { ...defaults, thresholds: steps && { ...defaults.thresholds, steps } };
}

export function dataFrames(panel, frames, theme) {
    return frames.map(({ legend, labels, times, values }, index) => {
        const value = { name: 'Value', type: FieldType.number, values, labels, config: { ...config(panel), displayNameFromDS: legend } };
        const time = { name: 'Time', type: FieldType.time, values: times, config: {} };
        const frame = createDataFrame({ name: legend, fields: [time, value] });
        for (const field of frame.fields) {
            field.display = getDisplayProcessor({ field, theme, timeZone: 'utc' });
            field.state = { ...field.state, displayName: field === frame.fields[1] ? legend : 'Time', seriesIndex: index };
        }
        return frame;
    });
}
