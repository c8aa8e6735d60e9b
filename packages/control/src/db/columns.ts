/** Conversions between column values and the domain's. */
export const flag = (value: boolean): number => (value ? 1 : 0)
export const isSet = (value: number): boolean => value !== 0

export function parseObject<T>(text: string): Record<string, T> {
  return JSON.parse(text) as Record<string, T>
}

/** `{a: 1, b: undefined}` becomes `{a: 1}`: an update touches only what it names. */
export function defined<T extends object>(fields: T): Partial<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<T>
}
