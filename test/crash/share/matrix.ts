/** Which cells there are: every point with everything that can be killed there. */
import { shareNameOf, shareVictims, type ShareCell, type ShareVictim } from './cell.ts'
import { sharePoints, type SharePoint } from './points.ts'

/** Of the revert: which parts of the only share's chain are not there at the point. */
const missing: Record<string, readonly ShareVictim[]> = {
  'revert.unexported': ['NFS server', 'message bus'],
  'revert.unmounted': [
    'NFS server',
    'message bus',
    'block device',
    'block device worker',
    'block device supervisor',
  ],
  'revert.closed': [
    'NFS server',
    'message bus',
    'block device',
    'block device worker',
    'block device supervisor',
    'head',
  ],
  'revert.opened': [
    'NFS server',
    'message bus',
    'block device',
    'block device worker',
    'block device supervisor',
  ],
  'revert.mounted': ['NFS server', 'message bus'],
}
missing['revert.deciding'] = missing['revert.decided'] = missing['revert.closed'] as ShareVictim[]

/** Where an operation can be given up: before its commit. */
const cancellable: readonly string[] = [
  'create.folder',
  'create.head',
  'create.mounted',
  'create.exported',
  'create.placed',
  'snapshot.cloned',
  'revert.cloned',
  'revert.closed',
  'migrate.recorded',
  'migrate.copying',
  'migrate.phase1',
  'migrateAlong.copied',
  'migrateAlong.moved',
  'migrateAlong.notes',
  'migrateAlong.bringingUp',
  'migrateAlong.phase1',
]

/** The bus is the NFS server's own: it is about exports only. */
const busPoints: readonly SharePoint['of'][] = ['allow', 'deny']

function isThere({ name, of }: SharePoint, victim: ShareVictim): boolean {
  if (victim === 'cancel') return cancellable.includes(name)
  if (victim === 'message bus' && !busPoints.includes(of)) return false
  return missing[name]?.includes(victim) !== true
}

export const allShareCells = (): ShareCell[] =>
  sharePoints.flatMap((point) =>
    shareVictims.filter((victim) => isThere(point, victim)).map((victim) => ({ point: point.name, victim })),
  )

/** Cells whose name contains one of the parts; all of them where there is none. */
export const selectedShareCells = (parts: readonly string[]): ShareCell[] =>
  allShareCells().filter(
    (cell) => parts.length === 0 || parts.some((part) => `${shareNameOf(cell)}/`.includes(part)),
  )

/** The cells of `npm test`: one for each kind of fault, and each side of the migration's commit. */
export const quickShareCells: readonly string[] = [
  'share/create/mounted/control-plane',
  'share/deny/applied/NFS-server',
  'share/revert/decided/everything',
  'share/migrate/phase1/cancel',
  'share/migrateAlong/committed/control-plane',
  'share/migrate/switched/head',
]
