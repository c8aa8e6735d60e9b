import { snapshotStory } from './snapshots.ts'

snapshotStory('xfs')
