/** What the controller says of this session, checked before anything is made of it. */

export interface Gpu {
  readonly uuid: string;
  readonly model: string | null;
  /** Installed, in bytes. */
  readonly memoryBytes: number | null;
  /** In %; null: the sensor is silent. */
  readonly percent: number | null;
  /** In bytes; null: the sensor is silent. */
  readonly usedBytes: number | null;
}

export interface Stop {
  /** Milliseconds since 1970, as all times here. */
  readonly at: number;
  readonly cause: string;
  readonly reason: string;
  /** Minutes before it of the last warning; 0: it is under way; null: none was given yet. */
  readonly warned: number | null;
}

export interface Signal {
  readonly what: string;
  readonly source: string;
  readonly at: number | null;
  readonly says: string;
}

export interface View {
  /** The controller's present. */
  readonly at: number;
  readonly gpus: readonly Gpu[];
  readonly stop: Stop | null;
  readonly ending: boolean;
  readonly reason: string;
  readonly signals: readonly Signal[];
  readonly actedOn: boolean;
  readonly keptUntil: number | null;
  readonly finish: boolean;
}

type Json = Record<string, unknown>;

/** Make a view of an answer. Throws a TypeError where it is none. */
export function readView(data: unknown): View {
  const found = asObject(data);
  return {
    at: asTime(found['at']),
    gpus: asList(found['gpus']).map(gpu => ({
      uuid: asText(gpu['uuid']),
      model: orNull(gpu['model'], asText),
      memoryBytes: orNull(gpu['memory_bytes'], asNumber),
      percent: orNull(gpu['utilization_percent'], asNumber),
      usedBytes: orNull(gpu['memory_used_bytes'], asNumber)
    })),
    stop: orNull(found['stop'], value => {
      const stop = asObject(value);
      return {
        at: asTime(stop['at']),
        cause: asText(stop['cause']),
        reason: asText(stop['reason']),
        warned: orNull(stop['warned'], asNumber)
      };
    }),
    ending: found['ending'] === true,
    reason: asText(found['reason']),
    signals: asList(found['signals']).map(signal => ({
      what: asText(signal['what']),
      source: asText(signal['source']),
      at: orNull(signal['at'], asTime),
      says: asText(signal['says'])
    })),
    actedOn: found['acted_on'] === true,
    keptUntil: orNull(found['kept_until'], asTime),
    finish: found['finish'] === true
  };
}

function orNull<T>(value: unknown, read: (value: unknown) => T): T | null {
  return value === null || value === undefined ? null : read(value);
}

function asObject(value: unknown): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new TypeError('an object was expected');
  }
  return value as Json;
}

function asList(value: unknown): Json[] {
  if (!Array.isArray(value)) {
    throw new TypeError('a list was expected');
  }
  return value.map(asObject);
}

function asText(value: unknown): string {
  if (typeof value !== 'string') {
    throw new TypeError('a text was expected');
  }
  return value;
}

function asNumber(value: unknown): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    throw new TypeError('a number was expected');
  }
  return value;
}

function asTime(value: unknown): number {
  return asNumber(Date.parse(asText(value)));
}
