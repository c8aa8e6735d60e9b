/** The named points of what is done with shares: calls that the operations make on agents and records. */
import type { ImageCopyRequest, ImageCopyStatus, MirrorRequest, MirrorStatus } from '@volant/contract'
import { byOperation, type Call, type Point } from '../points.ts'

/**
 * What is asked for. To allow and to deny are the same operation; so are `migrate` and `migrateAlong`, where a snapshot goes
 * along, and what it shares with the share is not copied.
 */
export const requests = [
  'create',
  'extend',
  'allow',
  'deny',
  'snapshot',
  'revert',
  'migrate',
  'migrateAlong',
  'delete',
] as const
export type Request = (typeof requests)[number]

export interface SharePoint extends Point {
  of: Request
  /** Of a migration: reached only when the second phase has been asked for. */
  isSecondPhase?: true
  /** No client is served here: the share is not there yet, not any more, or taken away for a while. */
  isTaken?: true
}

type Brief = [name: string, means: string, part: Point['part'], method: string, when: Point['when']]

const point = (of: Request, [name, means, part, method, when]: Brief, more: Partial<SharePoint> = {}) => ({
  name: `${of}.${name}`,
  of,
  means,
  part,
  method,
  when,
  truth: 'source' as const,
  is: byOperation,
  ...more,
})

const onTarget = { truth: 'target' } as const
const isTaken = { isTaken: true } as const
const isAny = (): boolean => true
const isReady = (_call: Call, result: unknown): boolean => (result as MirrorStatus).phase === 'ready'
const isCopying = (_call: Call, result: unknown): boolean => (result as MirrorStatus).phase === 'copying'
const becomesAvailable = ({ args }: Call): boolean =>
  (args.at(-1) as { status?: string }).status === 'available'
const isDone = (_call: Call, result: unknown): boolean => (result as ImageCopyStatus).phase === 'done'
const changesOnly = ({ args }: Call): boolean => (args[1] as MirrorRequest).changesOnly === true
const ontoOpen = ({ args }: Call): boolean => (args[1] as ImageCopyRequest).ontoOpen === true
const letsGo = ({ args }: Call): boolean => args[3] === false
const second = { isSecondPhase: true } as const

export const sharePoints: readonly SharePoint[] = [
  point('create', ['placed', 'its rows are there, and nothing else', 'ground', 'lay', 'after'], {
    is: isAny,
  }),
  ...(
    [
      ['folder', 'its FlexVol has a folder, and nothing else', 'storage', 'ensureFlexVol', 'after'],
      ['image', 'its image is there', 'storage', 'ensureImage', 'after'],
      ['head', 'its head runs', 'holders', 'ensureHolder', 'after'],
      ['formatting', 'its file system is about to be made', 'shareAgents', 'ensureFileSystem', 'before'],
      [
        'mounted',
        'it is made and mounted, and nobody has heard of it',
        'shareAgents',
        'ensureFileSystem',
        'after',
      ],
      ['exporting', 'it is about to be exported', 'shareAgents', 'ensureShareExport', 'before'],
      ['exported', 'it is exported, and nobody has heard of it', 'shareAgents', 'ensureShareExport', 'after'],
    ] as Brief[]
  ).map((brief) => point('create', brief)),
  point('create', ['publishing', 'all is done but saying so', 'shares', 'updateIf', 'before'], {
    is: becomesAvailable,
  }),
  point('extend', [
    'growing',
    'the file system is about to grow',
    'shareAgents',
    'ensureFileSystemSize',
    'before',
  ]),
  point('extend', [
    'grown',
    'it has grown, and nobody has heard of it',
    'shareAgents',
    'ensureFileSystemSize',
    'after',
  ]),
  point('extend', ['recording', 'its new size is about to be on record', 'shares', 'updateIf', 'before'], {
    is: becomesAvailable,
  }),
  ...(['allow', 'deny'] as const).flatMap((of) => [
    point(of, [
      'applying',
      'the rules are about to go to the NFS server',
      'shareAgents',
      'ensureShareExport',
      'before',
    ]),
    point(of, [
      'applied',
      'they are in effect, and nobody has heard of it',
      'shareAgents',
      'ensureShareExport',
      'after',
    ]),
  ]),
  point('snapshot', ['cloning', 'the clone is about to be made', 'storage', 'ensureClone', 'before']),
  point('snapshot', ['cloned', 'it is made, and nobody has heard of it', 'storage', 'ensureClone', 'after']),
  point('snapshot', [
    'sealed',
    'it is read-only, and not yet the snapshot',
    'storage',
    'ensureImageReadOnly',
    'after',
  ]),
  point('revert', ['cloned', "the snapshot's clone is made", 'storage', 'ensureClone', 'after']),
  point(
    'revert',
    ['unexported', 'no client reaches it', 'shareAgents', 'ensureNoShareExport', 'after'],
    isTaken,
  ),
  point('revert', ['unmounted', 'it is unmounted', 'shareAgents', 'ensureNoFileSystem', 'after'], isTaken),
  point('revert', ['closed', 'its head has ended', 'holders', 'ensureNoHolder', 'after'], isTaken),
  point('revert', ['deciding', 'the record is about to name the clone', 'copies', 'changeTruth', 'before'], {
    ...isTaken,
    is: isAny,
  }),
  point(
    'revert',
    ['decided', 'it names the clone, and nobody has heard of it', 'copies', 'changeTruth', 'after'],
    { ...isTaken, ...onTarget, is: isAny },
  ),
  point('revert', ['opened', 'a head stands on the clone', 'holders', 'ensureHolder', 'after'], {
    ...isTaken,
    ...onTarget,
    since: 'changeTruth',
  }),
  point('revert', ['mounted', 'the clone is mounted', 'shareAgents', 'ensureFileSystem', 'after'], {
    ...isTaken,
    ...onTarget,
    since: 'changeTruth',
  }),
  point(
    'revert',
    [
      'exported',
      'clients reach the clone, and nobody has heard of it',
      'shareAgents',
      'ensureShareExport',
      'after',
    ],
    { ...onTarget, since: 'changeTruth' },
  ),
  point('migrate', ['recorded', "the FlexVol's move is on record", 'moves', 'create', 'after'], {
    is: isAny,
  }),
  point('migrate', ['target', 'the target image is there', 'storage', 'ensureImage', 'after']),
  point('migrate', [
    'mirror',
    'the mirror runs, and nobody has written that down',
    'holders',
    'ensureMirror',
    'after',
  ]),
  point('migrate', ['copying', 'part of the image is copied', 'holders', 'mirrorStatus', 'after'], {
    is: isCopying,
  }),
  point(
    'migrate',
    ['phase1', 'all is in sync, and held for the second phase', 'holders', 'mirrorStatus', 'after'],
    {
      is: isReady,
    },
  ),
  point(
    'migrate',
    ['preparing', 'completion is asked for; I/O is about to be held', 'holders', 'prepareCutover', 'before'],
    second,
  ),
  point(
    'migrate',
    [
      'pending',
      'PENDING: I/O is held, the images are equal, nothing is decided',
      'holders',
      'prepareCutover',
      'after',
    ],
    { ...second, holdsClient: true },
  ),
  point(
    'migrate',
    [
      'committed',
      'the decision register says committed, and the record names the source',
      'copies',
      'changeTruth',
      'before',
    ],
    { ...second, holdsClient: true, since: 'prepareCutover', is: isAny },
  ),
  point(
    'migrate',
    ['switched', 'the record names the target; the head has not finalized', 'copies', 'changeTruth', 'after'],
    { ...second, ...onTarget, holdsClient: true, since: 'prepareCutover', is: isAny },
  ),
  point(
    'migrate',
    [
      'finalized',
      'the head stands on the target, and the answer is not noted',
      'holders',
      'finalizeCutover',
      'after',
    ],
    { ...second, ...onTarget },
  ),
  point(
    'migrate',
    ['settling', 'the source is about to become read-only', 'storage', 'ensureImageReadOnly', 'before'],
    { ...second, ...onTarget, since: 'finalizeCutover' },
  ),
  point('migrate', ['arriving', 'the FlexVol is about to be there', 'flexvols', 'arrive', 'before'], {
    ...second,
    ...onTarget,
    is: isAny,
  }),
  point(
    'migrate',
    ['arrived', 'the FlexVol is there, and nobody has heard of it', 'flexvols', 'arrive', 'after'],
    {
      ...second,
      ...onTarget,
      is: isAny,
    },
  ),
  point('migrate', ['ending', 'all has moved; the share is about to say so', 'shares', 'update', 'before'], {
    ...second,
    ...onTarget,
    is: becomesAvailable,
  }),
  point(
    'migrateAlong',
    ['copied', 'the snapshot is copied; nobody has heard of it', 'storage', 'imageCopyStatus', 'after'],
    { is: isDone },
  ),
  point(
    'migrateAlong',
    ['moved', "the snapshot's record names its copy", 'copies', 'changeSnapshotTruth', 'after'],
    { is: isAny },
  ),
  point(
    'migrateAlong',
    ['target', "the target is a clone of the snapshot's copy", 'storage', 'ensureClone', 'after'],
    { since: 'changeSnapshotTruth' },
  ),
  point(
    'migrateAlong',
    ['notes', 'the mirror notes what is written, and rests', 'holders', 'ensureMirror', 'after'],
    { is: changesOnly },
  ),
  point(
    'migrateAlong',
    ['bringingUp', 'the target is being brought up to date', 'storage', 'ensureImageCopy', 'after'],
    { is: ontoOpen },
  ),
  point(
    'migrateAlong',
    [
      'goesOn',
      'the mirror goes on, and nobody has written that down',
      'holders',
      'ensureMirrorPaused',
      'after',
    ],
    { is: letsGo },
  ),
  point(
    'migrateAlong',
    ['phase1', 'all is in sync, and held for the second phase', 'holders', 'mirrorStatus', 'after'],
    { is: isReady },
  ),
  point(
    'migrateAlong',
    [
      'committed',
      'the register says committed, and the record names the source',
      'copies',
      'changeTruth',
      'before',
    ],
    { ...second, holdsClient: true, since: 'prepareCutover', is: isAny },
  ),
  point(
    'migrateAlong',
    ['switched', 'the record names the target; the head has not finalized', 'copies', 'changeTruth', 'after'],
    { ...second, ...onTarget, holdsClient: true, since: 'prepareCutover', is: isAny },
  ),
  point('delete', [
    'unexporting',
    'the export is about to end',
    'shareAgents',
    'ensureNoShareExport',
    'before',
  ]),
  point(
    'delete',
    ['unexported', 'no client reaches it', 'shareAgents', 'ensureNoShareExport', 'after'],
    isTaken,
  ),
  point('delete', ['unmounted', 'it is unmounted', 'shareAgents', 'ensureNoFileSystem', 'after'], isTaken),
  point('delete', ['closed', 'its head has ended', 'holders', 'ensureNoHolder', 'after'], isTaken),
  point(
    'delete',
    ['imageGone', 'its image is gone, and its row is not', 'storage', 'ensureNoImage', 'after'],
    isTaken,
  ),
  point(
    'delete',
    ['folderGone', 'its FlexVol has no folder any more', 'storage', 'ensureNoFlexVol', 'after'],
    isTaken,
  ),
  point('delete', ['cleared', 'only the row of the share is left', 'ground', 'clear', 'after'], {
    ...isTaken,
    is: isAny,
  }),
  point('delete', ['removed', 'it is gone, and nobody has heard of it', 'shares', 'remove', 'after'], {
    ...isTaken,
    is: isAny,
  }),
]
