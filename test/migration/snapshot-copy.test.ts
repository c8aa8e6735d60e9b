import { snapshotStory } from './snapshots.ts'

// Where images cannot share blocks, the head copies the instant.
snapshotStory('folder')
