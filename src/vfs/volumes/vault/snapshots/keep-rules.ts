/**
 * Which snapshots a rule keeps. Pure.
 *
 * For each rule the newest snapshot of each of the last so many hours, days, weeks (ISO), months or years that have one is kept,
 * in UTC; `last` keeps the newest ones whatever their time. Must stay true: rules that say nothing keep all.
 */
export interface KeepRules {
  readonly last?: number
  readonly hourly?: number
  readonly daily?: number
  readonly weekly?: number
  readonly monthly?: number
  readonly yearly?: number
}

const PERIODS: Record<Exclude<keyof KeepRules, 'last'>, (time: Date) => string> = {
  hourly: time => time.toISOString().slice(0, 13),
  daily: time => time.toISOString().slice(0, 10),
  weekly: time => {
    // The Monday of its week.
    const day = new Date(Date.UTC(time.getUTCFullYear(), time.getUTCMonth(), time.getUTCDate()))
    day.setUTCDate(day.getUTCDate() - ((day.getUTCDay() + 6) % 7))
    return day.toISOString().slice(0, 10)
  },
  monthly: time => time.toISOString().slice(0, 7),
  yearly: time => time.toISOString().slice(0, 4),
}

/** The numbers of the snapshots to keep. */
export function keptSnapshots(snapshots: readonly { readonly id: number; readonly time: number }[], rules: KeepRules): Set<number> {
  const newestFirst = [...snapshots].sort((a, b) => b.time - a.time || b.id - a.id)
  if (Object.values(rules).every(count => count === undefined)) return new Set(newestFirst.map(({ id }) => id))
  const kept = new Set(newestFirst.slice(0, rules.last ?? 0).map(({ id }) => id))
  for (const [rule, periodOf] of Object.entries(PERIODS) as [keyof typeof PERIODS, (time: Date) => string][]) {
    const periods = new Set<string>()
    for (const { id, time } of newestFirst) {
      const period = periodOf(new Date(time))
      if (periods.has(period)) continue
      if (periods.size >= (rules[rule] ?? 0)) break
      periods.add(period)
      kept.add(id)
    }
  }
  return kept
}
