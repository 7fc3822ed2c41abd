// What dashboards are held to, besides Grafana's own types: JSON has the values of enums, not their names, and Grafana leaves
// open what a query of Prometheus is. It checks nothing by itself; ../tests/schema.rs adds the dashboards.
import type { Dashboard as AnyDashboard } from '@grafana/schema';
import type {
  Options as HeatmapOptions,
  FieldConfig as HeatmapFields,
} from '@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen';
import type { Options as StatOptions } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type {
  Options as StatesOptions,
  FieldConfig as StatesFields,
} from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type {
  Options as LinesOptions,
  FieldConfig as LinesFields,
} from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

/** With the values of enums for their members. */
type Plain<T> = T extends string
  ? `${T}`
  : T extends (infer U)[]
    ? Plain<U>[]
    : T extends object
      ? { [K in keyof T]: Plain<T[K]> }
      : T;

/** A query of Prometheus. */
export interface Query {
  refId: string;
  datasource: { type: 'prometheus'; uid: string };
  expr: string;
  legendFormat: string;
  editorMode: 'code';
  range: boolean;
  instant: boolean;
  exemplar: boolean;
  format: 'time_series' | 'heatmap';
}

/** What Prometheus adds to an annotation. */
interface Annotation {
  expr?: string;
  step?: string;
  titleFormat?: string;
  textFormat?: string;
  tagKeys?: string;
  useValueForTime?: boolean;
}

type Annotations = NonNullable<NonNullable<AnyDashboard['annotations']>['list']>[number];

export type Dashboard = Plain<Omit<AnyDashboard, 'annotations'>> & {
  annotations: { list: (Plain<Annotations> & Annotation)[] };
};

/** What a panel's kind makes of its options and of its fields. */
export interface Options {
  stat: Plain<Partial<StatOptions>>;
  timeseries: Plain<Partial<LinesOptions>>;
  heatmap: Plain<Partial<HeatmapOptions>>;
  'state-timeline': Plain<Partial<StatesOptions>>;
}

export interface Fields {
  stat: Record<string, never>;
  timeseries: Plain<LinesFields>;
  heatmap: Plain<HeatmapFields>;
  'state-timeline': Plain<StatesFields>;
}
